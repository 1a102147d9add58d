"""``tamiyo key``: make, show and trust signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HELP = {"help_option_names": ["-h", "--help"]}
key = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=_HELP,
    help="Make, show and trust signing keys.",
)
_AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@key.command()
def new(
    path: Annotated[
        Path | None, typer.Argument(help="where to write it; default: this user's development key", metavar="PATH")
    ] = None,
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing key")] = False,
) -> None:
    """Make a signing key: PATH (yours, mode 0600) and PATH with .pub (to give away).

    Example: tamiyo key new factory.key
    """
    from tamiyo_runtime.audit import Happened
    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.cli.trust import teller
    from tamiyo_runtime.signing import SigningKey, Trust, home

    default = path is None
    path = home() / "keys" / "dev.key" if path is None else path
    made = SigningKey.create(path, overwrite=overwrite)
    public = path.with_suffix(".pub")
    say(f"{made.public.short_id}  private {path}, public {public}")
    if default:
        say(f"trusted here as {Trust.add(made.public, 'dev', overwrite=True)}")
        teller(home())(Happened.TRUST, name="dev", key=made.public.id)
    else:
        say(f"Next:  tamiyo export RUN --key {path}   and, where bundles run:  tamiyo key trust {public}")


@key.command()
def show(*, as_json: _AsJson = False) -> None:
    """List the keys that this user trusts, and the development key.

    Example: tamiyo key show
    """
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.signing import PublicKey, Trust, home

    trusted = Trust.default()
    dev = home() / "keys" / "dev.pub"
    own = PublicKey.load(dev) if dev.exists() else None
    if as_json:
        emit_json(
            {
                "home": str(home()),
                "development_key": own.id if own else None,
                "trusted": [{"name": name, "id": item.id} for item, name in trusted.keys.items()],
            }
        )
        return
    say(f"development key  {own.short_id if own else 'none yet: made by the first export, or by `tamiyo key new`'}")
    if trusted.keys:
        table(["trusted as", "fingerprint"], [[name, item.short_id] for item, name in trusted.keys.items()])
    else:
        say(f"trusted          nobody: {home() / 'trusted'} holds no .pub file")


@key.command()
def trust(
    public_key: Annotated[Path, typer.Argument(help="a .pub file")],
    *,
    name: Annotated[str | None, typer.Option(help="file it under this name; default: that of the file")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the key of that name")] = False,
) -> None:
    """Trust a signer's public key: bundles it signed are accepted from now on.

    Compare the fingerprint with the signer's by another way than the one the file came.

    Example: tamiyo key trust factory.pub
    """
    from tamiyo_runtime.audit import Happened
    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.cli.trust import teller
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.signing import PublicKey, Trust, home

    loaded = PublicKey.load(public_key)
    label = name or public_key.stem
    if not label.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"{label!r} cannot name a key", hint="use letters, digits, '-' and '_': --name NAME")
    path = Trust.add(loaded, label, overwrite=overwrite)
    teller(home())(Happened.TRUST, name=label, key=loaded.id)
    say(f"{loaded.short_id}  trusted as '{label}' ({path})")
