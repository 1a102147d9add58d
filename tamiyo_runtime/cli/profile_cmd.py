"""``tamiyo profile``: show what is known of a device, and check a profile file before anything relies on it."""

from __future__ import annotations

from typing import Annotated

import typer

from device_profiles.loader import SUFFIX, load_profile, profile_ids, read_profile
from device_profiles.profile import Profile
from tamiyo_runtime.cli import profile_view
from tamiyo_runtime.cli.calibrate_cmd import calibrate, probes
from tamiyo_runtime.cli.render import emit_json, say

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Show, check and calibrate device profiles.",
)
app.command()(probes)
app.command()(calibrate)
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    profile: Annotated[
        str | None, typer.Argument(help="Id of a profile, or a .toml file; without one, all ids.", metavar="ID")
    ] = None,
    as_json: _AsJson = False,
    as_toml: Annotated[
        bool, typer.Option("--toml", help="Print the file itself, to start a board of your own.")
    ] = False,
) -> None:
    """Show every figure of a profile: value, interval, unit and source, and the error that was found.

    Examples:

      tamiyo profile show coral-usb

      tamiyo profile show cortex-m4 --toml > my-board.toml
    """
    if profile is None:
        _list(as_json=as_json)
        return
    if as_toml:
        say(read_profile(profile).decode().rstrip("\n"))
        return
    known = load_profile(profile)
    if as_json:
        emit_json(profile_view.record(known))
        return
    say(profile_view.full(known))
    say(f"\nNext:  tamiyo export RUN --target {profile}   |   tamiyo profile check {profile}")


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="A profile file, .toml, or the id of a profile.")],
    as_json: _AsJson = False,
) -> None:
    """Check a profile file: keys, units, plausible values, a source for each figure, names that the exporters know.

    Example: tamiyo profile check my-board.toml
    """
    profile = load_profile(file)
    _check_export(profile, file)
    checked = [
        f"{len(profile.figures)} figures: known keys, legal units, plausible values, an interval and a source each",
        "physics: energy of a MAC, idle below active power, temperatures in order",
        f"export: {', '.join(_names(profile))} are known to the exporters",
        f"validation: {len(profile.validation)} checks, well-formed (what they claim is for their author to show)",
    ]
    if as_json:
        emit_json(
            {
                "ok": True,
                "id": profile.id,
                "revision": profile.revision,
                "sha256": profile.sha256,
                "figures": len(profile.figures),
                "validation": len(profile.validation),
                "checked": checked,
            }
        )
        return
    say(f"ok: {profile.id} r{profile.revision}, sha256 {profile.sha256}")
    for line in checked:
        say(f"  {line}")
    if file.endswith(SUFFIX) and profile.id in profile_ids() and profile.sha256 != load_profile(profile.id).sha256:
        say(f"note: '{profile.id}' is also the id of a profile that comes with tamiyo; give this one an id of its own")
    say(f"Next:  tamiyo profile show {file}   |   tamiyo targets {file}   |   tamiyo export RUN --target {file}")


def _check_export(profile: Profile, file: str) -> None:
    """Raises SchemaError when ``[export]`` names a variant, compiler, option or operator table that nobody knows."""
    from exporters.ops.shipped import tables
    from exporters.targets import target_of
    from tamiyo_runtime.contracts.errors import SchemaError

    target_of(profile, name=file)
    name, legal = profile.export.operator_table, tables.names()
    if name is not None and name not in legal:
        raise SchemaError(f"{file}: export.operator_table", f"'{name}' is not one of {', '.join(legal)}")


def _names(profile: Profile) -> list[str]:
    hints = profile.export
    return [*hints.variants, *(name for name in (hints.operator_table, hints.compiler) if name)]


def _list(*, as_json: bool) -> None:
    profiles = [load_profile(name) for name in profile_ids()]
    if as_json:
        emit_json([profile_view.head(profile) for profile in profiles])
        return
    say(profile_view.listing(profiles))
    say(f"\nNext:  tamiyo profile show {profiles[0].id}   |   tamiyo profile check my-board.toml")
