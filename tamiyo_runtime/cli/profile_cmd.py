"""``tamiyo profile``: show what is known of a device, and check a profile file before anything relies on it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from device_profiles.loader import load_profile, profile_ids
from device_profiles.profile import Profile
from device_profiles.sections import SECTIONS
from tamiyo_runtime.cli.render import emit_json, say, table
from tamiyo_runtime.contracts.document import dump

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Show and check device profiles.",
)
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    profile: Annotated[
        str | None, typer.Argument(help="Id of a profile, or a .toml file; without one, all ids.", metavar="ID")
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Show every figure of a profile: value, interval, unit and source.

    Example: tamiyo profile show coral-usb
    """
    if profile is None:
        _list(as_json=as_json)
        return
    known = load_profile(profile)
    if as_json:
        emit_json(_as_data(known))
        return
    say(f"{known.id} r{known.revision}  {known.title}")
    say(f"sha256 {known.sha256}")
    say(f"\n{known.notes.strip()}\n")
    citations = list(dict.fromkeys(figure.citation for figure in known.figures.values()))
    table(
        ("figure", "value", "low", "high", "unit", "basis", "source"),
        [
            (
                name,
                f"{f.value:.10g}",
                f"{f.low:.10g}",
                f"{f.high:.10g}",
                f.unit,
                f.citation.basis,
                citations.index(f.citation) + 1,
            )
            for name, f in known.figures.items()
        ],
    )
    say("\nSources:")
    for number, citation in enumerate(citations, 1):
        say(f"  {number:>2}  {citation.text}")


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="A profile file, .toml, or the id of a profile.")],
    as_json: _AsJson = False,
) -> None:
    """Check a profile file: known keys, units, plausible values, a source for every figure.

    Example: tamiyo profile check my-board.toml
    """
    profile = load_profile(file)
    if as_json:
        emit_json({"ok": True, "id": profile.id, "revision": profile.revision, "sha256": profile.sha256})
        return
    say(f"ok: {profile.id} r{profile.revision}, {len(profile.figures)} figures, sha256 {profile.sha256}")
    say(f"Next:  tamiyo profile show {file}")


def _list(*, as_json: bool) -> None:
    profiles = [load_profile(name) for name in profile_ids()]
    if as_json:
        emit_json([{"id": p.id, "revision": p.revision, "title": p.title} for p in profiles])
        return
    table(("id", "revision", "title"), [(p.id, p.revision, p.title) for p in profiles])
    say(f"\nNext:  tamiyo profile show {profiles[0].id}")


def _as_data(profile: Profile) -> dict[str, Any]:
    return {
        "id": profile.id,
        "revision": profile.revision,
        "title": profile.title,
        "notes": profile.notes,
        "sha256": profile.sha256,
        "figures": {name: {**dump(figure), "meaning": _meaning(name)} for name, figure in profile.figures.items()},
    }


def _meaning(name: str) -> str:
    section, _, key = name.rpartition(".")
    return SECTIONS[section][key].meaning
