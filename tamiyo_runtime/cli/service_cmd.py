"""``tamiyo service``: a bundle that runs for good, under systemd."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Run a bundle as a service.")
_HELP = {"help_option_names": ["-h", "--help"]}
# What makes no sense for a service, or is the unit's to say: it is systemd that starts a service again.
_UNIT_SAYS = "leave it out; the unit says it in its own way"
_ANEW = "a mission would begin anew with every start; hold its mean power by --power-mw"
_NOT_HERE = {
    **dict.fromkeys(
        ("dry_run", "as_json", "trace", "overwrite", "state_dir", "allow_downgrade", "supervise"), _UNIT_SAYS
    ),
    **dict.fromkeys(("mission_hours", "battery_mwh"), _ANEW),
}


@app.callback()
def _group() -> None:
    """Run a bundle as a service."""


@app.command(
    "print",
    # Options before the bundle are ours, all that comes after it is for `tamiyo run`.
    context_settings={**_HELP, "allow_interspersed_args": False},
)
def print_(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle, as `tamiyo export` writes it, or a folder of `tamiyo update`.")
    ],
    run_options: Annotated[
        list[str] | None, typer.Argument(help="options of `tamiyo run`", metavar="[RUN OPTIONS]")
    ] = None,
    *,
    name: Annotated[str | None, typer.Option(help="of the unit; default: tamiyo-BUNDLE")] = None,
    user: Annotated[str | None, typer.Option(help="run as this user; default: one that systemd makes up")] = None,
    memory_max: Annotated[str, typer.Option(help="memory that it may take, as in 512M")] = "512M",
    watchdog_s: Annotated[float, typer.Option(help="restart it when its loop stands still for so long")] = 30.0,
) -> None:
    """Print a systemd unit that runs the bundle with the given options of `tamiyo run`, hardened.

    Own options come before the bundle, those of `tamiyo run` after it. Paths are made absolute; keys that are trusted
    here and now are named in the command, since the service has a home of its own.

    Example: tamiyo service print --memory-max 256M digits.tamiyo --source serial:///dev/ttyUSB0 --broker mqtt://hub:1883
    """
    from tamiyo_runtime.cli.deployed import Deployed
    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.cli.trust import open_bundle
    from tamiyo_runtime.service_unit import Unit
    from tamiyo_runtime.sources import sources
    from tamiyo_runtime.sources.address import Address

    given = _checked(bundle, run_options or [])
    deployed = Deployed.of(bundle, window=1, count=False, decided={"--key": "key" in given})
    opened = open_bundle(bundle, given.get("key")) if deployed is None else deployed.open()
    keys = [path.resolve() for path in given.get("key") or _trusted()] if deployed is None else []
    address = Address.parse(given.get("source", "bundle"), sources.names())
    reads = [*([bundle.resolve()] if deployed is None else []), *keys]
    if address.kind in {"folder", "csv"}:
        path = Path(address.body).resolve()
        reads.append(path)
        given["source"] = address.text.replace(address.body, str(path), 1)
    given["key"] = keys
    name = name or (f"tamiyo-{bundle.stem}" if deployed is None else bundle.resolve().name)
    state = ["--state-dir", f"/var/lib/{name}"] if deployed is None else []
    command = [*_program(), "run", str(bundle.resolve()), *state, *_words(given)]
    unit = Unit(
        name=name,
        description=f"tamiyo: {opened.manifest.name} for {opened.manifest.target}",
        command=tuple(command),
        reads=tuple(reads),
        writes=() if deployed is None else (bundle.resolve(),),
        user=user,
        device=address.body if address.kind == "serial" else None,
        memory_max=memory_max,
        watchdog_s=watchdog_s,
    )
    say(unit.text().rstrip())


def _run_command() -> Any:
    from typer.main import get_command

    from tamiyo_runtime.cli.run_cmd import run

    inner = typer.Typer(add_completion=False, rich_markup_mode=None)
    inner.command()(run)
    return get_command(inner)


def _checked(bundle: Path, words: list[str]) -> dict[str, Any]:
    """The options of `tamiyo run` that were given, by parameter; its own parser raises for those it does not know."""
    from tamiyo_runtime.contracts.errors import UsageError

    context = _run_command().make_context("tamiyo run", [str(bundle), *words])
    given = {
        name: value
        for name, value in context.params.items()
        if name != "bundle" and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    for name, hint in _NOT_HERE.items():
        if name in given:
            option = next(item.opts[0] for item in context.command.params if item.name == name)
            raise UsageError(f"{option} is not for a service", hint=hint)
    return given


def _words(given: dict[str, Any]) -> list[str]:
    """Options as a command line again, each in its long form."""
    words: list[str] = []
    for parameter in _run_command().params:
        if parameter.name not in given:
            continue
        value = given[parameter.name]
        if isinstance(value, bool):
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            words += [parameter.opts[0], f"{item:g}" if isinstance(item, float) else str(item)]
    return words


def _trusted() -> list[Path]:
    from tamiyo_runtime.signing import home

    return sorted((home() / "trusted").glob("*.pub"))


def _program() -> list[str]:
    """How this very tamiyo is started."""
    beside = Path(sys.executable).with_name("tamiyo")
    found = str(beside) if beside.exists() else shutil.which("tamiyo")
    return [found] if found else [sys.executable, "-m", "tamiyo_runtime.cli.main"]
