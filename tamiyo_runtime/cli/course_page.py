"""The report of a course: what each stage demanded, what was measured, what it cost, and how the networks grew."""

from __future__ import annotations

from collections.abc import Sequence

from exporters.html.page import Card, Figure, Section, Table, page
from tamiyo_runtime.cli.report import plots
from tamiyo_train.curriculum.conditions import Sense, Verdict
from tamiyo_train.curriculum.pupil import success_of
from tamiyo_train.curriculum.round import CourseRecord, NetworkLine, Round
from tamiyo_train.curriculum.stage import Stage

_GIGA = 1e9


def render(record: CourseRecord, stages: Sequence[Stage]) -> str:
    """The page; ``stages`` are those of the record, in its order."""
    macs = sum(one.training_macs for one in record.rounds)
    cards = [
        Card(f"{len(record.passed)} of {len(record.stages)}", "stages passed", record.complete),
        Card(str(len(record.rounds)), "rounds"),
        Card(
            str(sum(len(grown) for one in record.rounds for grown in (one.networks, *one.beside.values()))),
            "networks grown for examinations",
        ),
        Card(f"{macs / _GIGA:.3g}", "training GMACs of examinations"),
    ]
    lead = (
        f"Seed {record.seed}, {record.networks} networks an examination. A condition holds when the end of its 90 % "
        "interval that matters is on the right side of the bound: one-sided, at 95 %."
    )
    if record.smoke:
        lead += " A smoke run: networks were hardly trained, so its gates say nothing about the stages."
    body = [_overview(record), _log(record)]
    body += [_stage(record, stage) for stage in stages if any(one.stage == stage.id for one in record.rounds)]
    body.append(_facts(record))
    return page("Curriculum", lead, cards, body)


def state_of(record: CourseRecord, stage: str) -> str:
    """Passed, not passed or not reached."""
    if stage in record.passed:
        return "passed"
    return "not passed" if any(one.stage == stage for one in record.rounds) else "not reached"


def _overview(record: CourseRecord) -> Section:
    rows = []
    for stage in record.stages:
        rounds = [one for one in record.rounds if one.stage == stage]
        missed = [verdict for verdict in rounds[-1].verdicts if not verdict.passed] if rounds else []
        rows.append(
            [
                stage,
                state_of(record, stage),
                str(len(rounds)),
                f"{sum(one.training_macs for one in rounds) / _GIGA:.3g}",
                f"{sum(one.seconds for one in rounds):.0f}",
                "; ".join(f"{verdict.condition} ({_gap(verdict)})" for verdict in missed),
            ]
        )
    headers = ["stage", "gate", "rounds", "training GMACs", "seconds, all of it", "missed in its last round"]
    note = "Seconds are those of this machine with whatever else it did; MACs are of the examinations' networks."
    return Section("Stages", parts=[Table(headers, rows)], note=note)


def _log(record: CourseRecord) -> Section:
    rows = [
        [
            str(one.number + 1),
            one.stage,
            one.layout,
            ", ".join(f"{count} of stage {stage}" for stage, count in one.lessons.items()) or "none: confirmed",
            ", ".join(f"stage {stage}: {success:.4g}" for stage, success in one.rehearsed.items()),
            one.move.value,
            one.why,
        ]
        for one in record.rounds
    ]
    headers = ["round", "stage", "policy", "episodes taught with", "rehearsed", "then", "why"]
    return Section("How the course went", parts=[Table(headers, rows)], note="The audit log holds the same, chained.")


def _stage(record: CourseRecord, stage: Stage) -> Section:
    rounds = [one for one in record.rounds if one.stage == stage.id]
    last = rounds[-1]
    parts: list[Table | Figure] = [
        Table(["condition", "bound", "measured", "90 % interval", "of", "holds", "note"], _gate(last)),
        Figure(
            plots.learning_curves(_curves(last.networks), goal=_goal(stage)),
            "Networks of the last round, as they grew; a dashed line is the bound, which the test set has to meet.",
        ),
        Figure(
            plots.lives(_lives(last.networks), end=float(max(net.result.steps for net in last.networks))),
            "Lives of the seeds in every slot; a dormant slot is empty, what follows the last bar is consolidation.",
        ),
        Table(_NETWORK, _networks(last.networks, stage)),
    ]
    parts += [
        Table([f"network on {task}", *_NETWORK[1:]], _networks(networks, stage.on(task)))
        for task, networks in last.beside.items()
    ]
    if len(rounds) > 1:
        rows = [
            [str(one.number + 1), *(_measured(verdict) for verdict in one.verdicts), one.move.value] for one in rounds
        ]
        headers = ["round", *(verdict.condition.name for verdict in last.verdicts), "then"]
        parts.append(Table(headers, rows, fold="all rounds of this stage"))
    text = (
        f"{_samples(record, stage)}, priced for {stage.profile}. It is there to teach {', '.join(stage.taught)}. "
        f"{len(rounds)} rounds; the tables are of round {last.number + 1}."
    )
    return Section(f"Stage {stage.id}: {stage.title}, {state_of(record, stage.id)}", text=text, parts=parts)


def _samples(record: CourseRecord, stage: Stage) -> str:
    files = record.files.get(stage.id)
    if files is None:
        return f"Task {stage.task}"
    return f"Files of format {files.format} at {files.path} (SHA-256 of the samples {files.sha256})"


def _gate(one: Round) -> list[list[str]]:
    rows = []
    for verdict in one.verdicts:
        evidence, condition = verdict.evidence, verdict.condition
        known = evidence.low is not None and evidence.high is not None
        rows.append(
            [
                condition.name,
                f"{condition.sense.value} {condition.bound:g}",
                _measured(verdict),
                f"{evidence.low:.4g} to {evidence.high:.4g}" if known else "",
                str(evidence.count),
                "yes" if verdict.passed else f"no ({_gap(verdict)})",
                evidence.note,
            ]
        )
    return rows


def _measured(verdict: Verdict) -> str:
    estimate = verdict.evidence.estimate
    return "not measured" if estimate is None else f"{estimate:.4g}"


def _gap(verdict: Verdict) -> str:
    return "not measured" if verdict.short_by is None else f"by {verdict.short_by:.3g}"


def _curves(networks: Sequence[NetworkLine]) -> list[tuple[list[float], list[float]]]:
    return [([float(w.step) for w in net.history], [w.accuracy for w in net.history]) for net in networks]


def _goal(stage: Stage) -> float | None:
    shown = stage.success.measure == "accuracy" and stage.success.sense is Sense.AT_LEAST
    return stage.success.bound if shown else None


def _lives(networks: Sequence[NetworkLine]) -> list[tuple[str, list[tuple[float, float, str]]]]:
    rows = []
    for net in networks:
        end = float(net.history[-1].step) if net.history else 0.0
        for slot in sorted({slot for _, slot, _ in net.lives}):
            own = [(float(step), state) for step, at, state in net.lives if at == slot]
            stops = [*(step for step, _ in own[1:]), max(end, own[-1][0])]
            stretches = [(step, stop, state) for (step, state), stop in zip(own, stops, strict=True) if stop > step]
            rows.append((f"{net.seed + 1}.{slot}", stretches))
    return rows


_NETWORK = ("network", "success", "parameters", "MACs", "training GMACs", "seeds")


def _networks(networks: Sequence[NetworkLine], stage: Stage) -> list[list[str]]:
    return [
        [
            str(net.seed + 1),
            _success(net, stage),
            str(net.result.params),
            str(net.result.macs),
            f"{net.result.training_macs / _GIGA:.3g}",
            ", ".join(net.seeds) or "none",
        ]
        for net in networks
    ]


def _success(net: NetworkLine, stage: Stage) -> str:
    """What the stage is passed by; where that is measured of all networks together, the task's own metric."""
    own = net.figures.get(stage.success.measure)
    return f"{success_of(net.result):.4g} in torch" if own is None else f"{own:.4g}"


def _facts(record: CourseRecord) -> Section:
    rows = [[name, version] for name, version in record.versions.items()]
    rows += [[f"policy {layout}", file] for layout, file in record.policies.items()]
    return Section("What it was made with", parts=[Table(["what", "which"], rows)])
