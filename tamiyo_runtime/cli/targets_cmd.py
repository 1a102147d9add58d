"""``tamiyo targets``: what can be exported for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from exporters.targets import Target


def targets(
    name: Annotated[
        str | None, typer.Argument(help="show this target, or a .toml profile, in full", metavar="TARGET")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List the targets of ``tamiyo export``, or show one.

    Example: tamiyo targets edge-tpu
    """
    from exporters.targets import find_target
    from exporters.targets import targets as registry
    from tamiyo_runtime.cli.render import emit_json, say, table

    if name is not None:
        record = _record(find_target(name))
        if as_json:
            emit_json(record)
        else:
            _show(record, asked=name)
        return
    records = [_record(target) for _, target in registry]
    if as_json:
        emit_json(records)
        return
    table(
        ["target", "variants, preferred first", "layout", "vendor compiler"],
        [
            [
                record["name"],
                ", ".join(item["id"] for item in record["variants"]),
                record["layout"],
                _compiler(record),
            ]
            for record in records
        ],
    )
    say("\nNext:  tamiyo targets TARGET   |   tamiyo export RUN --target TARGET")


def _record(target: Target) -> dict[str, Any]:
    from device_profiles.loader import load_profile

    profile = load_profile(target.profile)
    compiler = target.compiler
    return {
        "name": target.name,
        "title": target.title,
        "profile": {"id": profile.id, "revision": profile.revision, "title": profile.title, "sha256": profile.sha256},
        "variants": [
            {
                "id": item.id,
                "format": item.format.value,
                "precision": item.precision.value,
                "layout": item.layout.value,
            }
            for item in target.variants
        ],
        "layout": target.layout,
        "gating": target.gating,
        "operator_table": target.operator_table,
        "compiler": None
        if compiler is None
        else {
            "program": compiler.program,
            "found": (version := compiler.version()) is not None,
            "version": version,
            "needed": compiler.needed,
            "command": compiler.command(["GRAPH.tflite"], target.options),
            "where": compiler.where,
        },
    }


def _compiler(record: dict[str, Any]) -> str | None:
    compiler = record["compiler"]
    if compiler is None:
        return None
    if not compiler["found"]:
        return f"{compiler['program']}: not found" + (", needed" if compiler["needed"] else "")
    return f"{compiler['program']} {compiler['version']}" if compiler["version"] != "unknown" else compiler["program"]


def _show(record: dict[str, Any], *, asked: str) -> None:
    from exporters.ops.shipped import tables
    from tamiyo_runtime.cli.render import labelled, say, table

    profile = record["profile"]
    say(f"{record['name']}: {record['title']}")
    say(f"profile    {profile['id']} r{profile['revision']} (sha256 {profile['sha256'][:16]})")
    say(labelled("gating     ", record["gating"]))
    if record["operator_table"] is not None:
        rules = tables.get(record["operator_table"])
        say(labelled("operators  ", f"{len(rules.rules)} on the {rules.device}: {', '.join(sorted(rules.rules))}"))
        say(labelled("           ", f"after {rules.source}"))
        if not rules.verified:
            say("           not confirmed by the vendor's compiler")
    if record["compiler"] is not None:
        compiler = record["compiler"]
        say(f"compiler   {_compiler(record)}; {compiler['command']}")
        say(f"           {compiler['where']}")
    say()
    table(
        ["variant", "format", "precision", "layout"],
        [[item["id"], item["format"], item["precision"], item["layout"]] for item in record["variants"]],
    )
    shown = asked if asked.endswith(".toml") else profile["id"]
    say(f"\nNext:  tamiyo export RUN --target {asked}   |   tamiyo profile show {shown}")
