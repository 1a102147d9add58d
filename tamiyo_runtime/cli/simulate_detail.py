"""What ``tamiyo simulate --sample`` says of devices that the real runtime ran, beside the vector engine's figures."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from tamiyo_runtime.cli.render import labelled, say, table
from tamiyo_runtime.contracts.units import percent, plural, si

if TYPE_CHECKING:
    from simulators.fleet.detail.agreement import Compared
    from simulators.fleet.detail.run import Detail
    from simulators.fleet.result import FleetResult


def show_detail(detail: Detail, result: FleetResult) -> None:
    """In some lines a group."""
    from simulators.fleet.detail.agreement import agreements

    say("")
    say("in detail: devices run by the real runtime on virtual clocks, a device and day on average (simulated)")
    rows = [
        [one.group, one.devices, figure.name, *_values(figure), "" if figure.ratio is None else f"{figure.ratio:.3g}"]
        for one in agreements(detail, result)
        for figure in one.figures
    ]
    if rows:
        table(["group", "devices", "figure", "detailed", "vector engine", "ratio"], rows)
    for number, group in enumerate(result.scenario.devices):
        _show_group(detail, number, group.name)
    for name, reason in detail.left_out.items():
        say(labelled("left out   ", f"{name}: {reason}"))
    rounds = ", ".join(f"{region} {count}" for region, count in detail.rounds.items())
    if rounds:
        say(labelled("settled    ", f"rounds by region: {rounds}; {plural(detail.played, 'run')} of devices in all"))


def _values(figure: Compared) -> list[str]:
    return [
        si(value * 1e-3, "J") if figure.unit == "mJ" else f"{value:.4g} {figure.unit}".strip()
        for value in (figure.detailed, figure.vector)
    ]


def _show_group(detail: Detail, number: int, name: str) -> None:
    rows = detail.devices
    mine = rows.group == number
    if not mine.any():
        return
    made, delivered, dropped = (int(values[mine].sum()) for values in (rows.made, rows.delivered, rows.dropped))
    if made:
        said = f"{name}: {made} made, {delivered} delivered, {dropped} given up, {made - delivered - dropped} waiting"
        delays = [_median(values[mine]) for values in (rows.delay_p50_s, rows.delay_p95_s)]
        if delays[0] is not None and delays[1] is not None:
            said += f"; from sample to collector {delays[0]:.3g} s, p95 {delays[1]:.3g} s"
        say(labelled("records    ", f"{said} (simulated)"))
    else:
        say(labelled("records    ", f"{name}: none, the payload is too small for a frame of the runtime"))
    busiest = rows.busiest_hour_share[mine]
    if not np.isnan(busiest).all():
        level = float(detail.hours.link_level[mine].min())
        say(
            labelled(
                "airtime    ",
                f"{name}: at most {percent(float(np.nanmax(busiest)))} of what an hour allows,"
                f" credit never below {percent(level)} at an hour's end (simulated)",
            )
        )
    if (rows.samples[mine] >= 0).all():
        _show_inferences(detail, mine.nonzero()[0].tolist(), name)


def _show_inferences(detail: Detail, places: list[int], name: str) -> None:
    rows = detail.devices
    total, counts, skips = int(rows.samples[places].sum()), Counter[str](), Counter[str]()
    for place in places:
        counts.update(detail.configurations[place])
        skips.update(detail.skips[place])
    shares = [f"{configuration} {percent(count / total)}" for configuration, count in counts.most_common()]
    shares += [f"{reason} {percent(count / total)}" for reason, count in skips.most_common()]
    late = int(rows.deadline_misses[places].sum())
    said = f"{name}: {plural(total, 'sample')}: {', '.join(shares)}; {late} late"
    correct = _median(rows.correct_share[places])
    if correct is not None:
        said += f"; {percent(correct)} right"
    say(labelled("inferences ", f"{said} (simulated)"))
    allowed = rows.allowed_mj[places]
    if not np.isnan(allowed).any():
        used = float((rows.energy_mj[places] / allowed).max())
        deepest = float(rows.overdraft_jobs[places].max())
        said = f"{name}: at most {percent(used)} of the budget, overdrawn by at most {deepest:.2g} inferences"
        say(labelled("energy     ", f"{said} (simulated)"))


def _median(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    value = float(np.median(known)) if known.size else math.nan
    return None if math.isnan(value) else value
