"""``tamiyo doctor``: what is installed here, what works, and what to type for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    *,
    root: Annotated[
        Path, typer.Option(help="look for meters below this folder: a copied or simulated /sys and /proc")
    ] = Path("/"),
    safeguards: Annotated[
        bool, typer.Option("--safeguards", help="try the technical safeguards of 45 CFR 164.312 instead")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False,
) -> None:
    """Examine this machine: what is installed, what works, what it can measure.

    Exit 5 when something is missing without which nothing runs. Example: tamiyo doctor
    """
    from dataclasses import asdict

    from tamiyo_runtime.cli.examination import Verdict, examine
    from tamiyo_runtime.cli.gauges import gauges
    from tamiyo_runtime.cli.render import emit_json, progress, say, table
    from tamiyo_runtime.contracts.errors import MissingDependencyError

    if safeguards:
        _show_safeguards(as_json=as_json)
        return
    findings = []
    with progress("doctor") as bar:
        for finding in examine():
            findings.append(finding)
            bar.advance(remark=finding.name)
    failed = [item for item in findings if item.required and item.verdict in {Verdict.MISSING, Verdict.BROKEN}]
    if as_json:
        measured = [asdict(item) for item in gauges(root)]
        emit_json({"ok": not failed, "findings": [asdict(item) for item in findings], "meters": measured})
    else:
        rows = [
            [item.name, item.verdict.upper() if item in failed else item.verdict, item.detail, item.purpose]
            for item in findings
        ]
        table(["what", "state", "found", "needed to"], rows)
        say()
        table(
            ["figure of `--device host`", "read from", "now", "label"],
            [[item.figure, item.read_from, item.now, item.label] for item in gauges(root)],
        )
        remedies = [item for item in findings if item.remedy]
        if remedies:
            say()
            say("To get the rest:")
            for item in remedies:
                say(f"  {item.name}: {item.remedy}")
    if failed:
        names = ", ".join(item.name for item in failed)
        raise MissingDependencyError(f"required and not working: {names}", hint=f"type: {failed[0].remedy}")
    if not as_json:
        say()
        say("everything that is required works")


def _show_safeguards(*, as_json: bool) -> None:
    from dataclasses import asdict

    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.contracts.errors import IntegrityError
    from tamiyo_runtime.safeguards import check_safeguards

    found = check_safeguards()
    if as_json:
        emit_json({"safeguards": [asdict(one) for one in found]})
    else:
        table(
            ["safeguard", "45 CFR", "holds", "what was tried"],
            [[one.name, one.rule, "yes" if one.held else "NO", one.told] for one in found],
        )
        say()
        say("a self-check of this installation: it certifies nothing, and sees neither people nor the broker's rules")
    if broken := [one for one in found if not one.held]:
        names = ", ".join(one.name for one in broken)
        raise IntegrityError(f"safeguards that do not hold: {names}", hint=broken[0].told)
