"""The report of a course: what each stage demanded, what was measured, what it cost, and how the networks grew.

It is written anew after every round, so that a course can be looked at while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporters.html.charts import Part, stacked
from exporters.html.page import Card, Figure, Section, Table, page
from tamiyo_runtime.cli import course_charts as charts
from tamiyo_runtime.cli.course_stage_page import gap, giga, measured, stage_section
from tamiyo_train.curriculum.conditions import Condition, Sense, Verdict
from tamiyo_train.curriculum.course import MAY_LOSE, Move
from tamiyo_train.curriculum.examine import merit
from tamiyo_train.curriculum.round import CourseRecord, NetworkLine, Round
from tamiyo_train.curriculum.stage import Stage

_PHASES = (("lessons", 1), ("examination", 0), ("rehearsal", 3))
"""What a round trains for, each with its colour."""


def render(record: CourseRecord, stages: Sequence[Stage]) -> str:
    """The page; ``stages`` are those of the record, in its order."""
    rounds = record.rounds
    cards = [
        Card(
            f"{len(record.passed)} of {len(record.stages)}", "stages passed", record.complete if record.over else None
        ),
        Card(str(len(rounds)), "rounds"),
        Card(str(sum(len(grown) for one in rounds for grown in _grown(one))), "networks grown for examinations"),
        Card(giga(sum(one.training_macs.total for one in rounds)), "training GMACs"),
        Card(_time(sum(one.seconds for one in rounds)), "time taken"),
    ]
    if not record.over:
        cards.insert(0, Card(f"stage {record.following}", "comes next: the course is not over"))
    lead = (
        f"Seed {record.seed}, {record.networks} networks an examination. A condition holds when the end of its 90 % "
        "interval that matters is on the right side of the bound: one-sided, at 95 %."
    )
    if record.smoke:
        lead += " A smoke run: networks were hardly trained, so its gates say nothing about the stages."
    seen = [stage for stage in stages if any(one.stage == stage.id for one in rounds)]
    body = [_gates(record, seen), _way(record, stages), _costs(record, stages)]
    body += [stage_section(record, stage, state_of(record, stage.id)) for stage in seen]
    body.append(_facts(record))
    return page("Curriculum", lead, cards, body)


def state_of(record: CourseRecord, stage: str) -> str:
    """Passed, not passed, or not reached; under way while the course may still come back to it."""
    if stage in record.passed:
        return "passed"
    if not any(one.stage == stage for one in record.rounds):
        return "not reached"
    return "not passed" if record.over or stage in record.left else "under way"


def _grown(one: Round) -> list[Sequence[NetworkLine]]:
    return [one.networks, *one.beside.values()]


def _last(record: CourseRecord, stage: str) -> Round:
    return [one for one in record.rounds if one.stage == stage][-1]


def _gates(record: CourseRecord, stages: Sequence[Stage]) -> Section:
    groups = []
    for stage in stages:
        lines = [_gate_line(verdict) for verdict in _last(record, stage.id).verdicts]
        groups.append((f"Stage {stage.id}: {stage.title}, {state_of(record, stage.id)}", lines))
    caption = (
        "Of the last round at each stage. A dot is what was measured, the bar reaches to the end of the interval that "
        "decides, both as shares of what the gate allows: at the left everything is as good as can be, at the line the "
        "bound is reached. Point at a dot for the figures."
    )
    missed = [
        f"stage {stage.id}: {verdict.condition} ({gap(verdict)})"
        for stage in stages
        for verdict in _last(record, stage.id).verdicts
        if not verdict.passed
    ]
    text = f"Missed: {'; '.join(missed)}." if missed else "Every condition that was examined held."
    return Section("Gates", text=text, parts=[Figure(charts.gates(groups), caption)])


def _gate_line(verdict: Verdict) -> charts.GateLine:
    estimate, decides = verdict.evidence.estimate, verdict.deciding
    text = f"{measured(verdict)}, {verdict.condition.sense} {verdict.condition.bound:g}"
    if estimate is None or decides is None:
        return charts.GateLine(name=verdict.condition.name, used=None, decides=None, passed=False, text=text)
    return charts.GateLine(
        name=verdict.condition.name,
        used=used(verdict.condition, estimate),
        decides=used(verdict.condition, decides),
        passed=verdict.passed,
        text=text,
    )


def used(condition: Condition, value: float) -> float:
    """Share of what a condition allows that a value uses up: 0 or below is as good as can be, 1 is the bound.

    What has to be at least something is a share, whose best is 1. Infinite where nothing is allowed and the value is
    not the best.
    """
    if condition.sense is Sense.AT_LEAST:
        spent, allowed = 1 - value, 1 - condition.bound
    else:
        spent, allowed = value, condition.bound
    if allowed > 0:
        return spent / allowed
    return 0.0 if spent <= 0 else float("inf")


def _way(record: CourseRecord, stages: Sequence[Stage]) -> Section:
    numbers = {stage.id: number for number, stage in enumerate(stages)}
    stops = [
        charts.Stop(
            stage=numbers[one.stage],
            passed=one.passed,
            tip=f"round {one.number + 1}, stage {one.stage}: {one.move}: {one.why}",
            rehearsed={numbers[name]: name in lost for name in one.rehearsed},
        )
        for one, lost in zip(record.rounds, _lost(record), strict=True)
    ]
    rows = [
        [
            str(one.number + 1),
            one.stage,
            ", ".join(f"{count} of stage {stage}" for stage, count in one.lessons.items()) or "none: confirmed",
            ", ".join(f"stage {stage}: {success:.4g}" for stage, success in one.rehearsed.items()),
            one.move.value,
            one.why,
        ]
        for one in record.rounds
    ]
    headers = ["round", "stage", "episodes taught with", "rehearsed", "then", "why"]
    names = [f"{stage.id}  {stage.title}" for stage in stages]
    caption = "Green dots are examinations passed, red ones failed; rings are rehearsals of earlier stages."
    parts: list[Figure | Table] = [
        Figure(charts.way(names, stops), caption),
        Table(headers, rows, fold="round by round, and why"),
    ]
    return Section("How the course went", parts=parts, note="The audit log holds the same, chained: tamiyo audit show.")


def _lost(record: CourseRecord) -> list[set[str]]:
    """Of every round the stages that lost more than they may when they were rehearsed."""
    best: dict[str, float] = {}
    found = []
    for one in record.rounds:
        lost = {name for name, value in one.rehearsed.items() if value < best.get(name, value) - MAY_LOSE}
        best = {name: value for name, value in best.items() if name not in lost}
        if one.passed and one.move in {Move.ADVANCE, Move.FINISH}:
            success = merit(one.verdicts[0])
            best[one.stage] = max(success, best.get(one.stage, success))
        found.append(lost)
    return found


def _costs(record: CourseRecord, stages: Sequence[Stage]) -> Section:
    bars, rows = [], []
    for stage in stages:
        rounds = [one for one in record.rounds if one.stage == stage.id]
        macs = {kind: sum(getattr(one.training_macs, kind) for one in rounds) for kind, _ in _PHASES}
        told = _time(sum(one.seconds for one in rounds))
        parts = [
            Part(kind=kind, value=float(macs[kind]), colour=colour, tip=f"{kind}: {giga(macs[kind])} GMACs")
            for kind, colour in _PHASES
        ]
        if rounds:
            bars.append((f"{stage.id}  {stage.task}", parts, told))
        figures = [str(len(rounds)), *(giga(macs[kind]) for kind, _ in _PHASES), told]
        rows.append([stage.id, stage.title, state_of(record, stage.id), *(figures if rounds else [""] * len(figures))])
    headers = ["stage", "what", "gate", "rounds", *(kind for kind, _ in _PHASES), "time"]
    note = (
        "In 10^9 MACs of training: of lessons, of networks examined, with the hosts trained beside them, and of "
        "earlier stages examined again. Times are of this machine with all it did, faults injected and other work "
        "included; of a course that was taken up again, since then."
    )
    figure = Figure(stacked(bars, title="training by stage"), "Multiply-accumulates of training, and the time it took.")
    return Section("What each stage cost", parts=[figure, Table(headers, rows)], note=note)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _facts(record: CourseRecord) -> Section:
    rows = [[name, version] for name, version in record.versions.items()]
    rows += [[f"policy {layout}", file] for layout, file in record.policies.items()]
    return Section("What it was made with", parts=[Table(["what", "which"], rows)])
