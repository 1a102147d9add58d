"""A stage in the report of a course: its gate, and its networks as they grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from exporters.html.page import Figure, Section, Table
from tamiyo_runtime.cli import course_charts as charts
from tamiyo_train.curriculum.conditions import Sense, Verdict
from tamiyo_train.curriculum.pupil import success_of
from tamiyo_train.curriculum.round import CourseRecord, NetworkLine, Round
from tamiyo_train.curriculum.stage import Stage

_NETWORK = ("network", "success", "parameters", "MACs", "training GMACs", "seeds")


def stage_section(record: CourseRecord, stage: Stage, state: str) -> Section:
    """What the rounds at a stage came to; ``state``: whether it is passed, in words."""
    rounds = [one for one in record.rounds if one.stage == stage.id]
    last = rounds[-1]
    parts: list[Table | Figure] = [
        Table(["condition", "bound", "measured", "90 % interval", "of", "holds", "note"], _gate(last)),
        Figure(
            charts.learning(_curves(last.networks), bound=_goal(stage)),
            "Networks of the last round as they grew: thin lines, and their median.",
        ),
        Figure(
            charts.lives(_lives(last.networks), end=float(max(net.result.steps for net in last.networks))),
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
            [str(one.number + 1), *(measured(verdict) for verdict in one.verdicts), one.move.value] for one in rounds
        ]
        headers = ["round", *(verdict.condition.name for verdict in last.verdicts), "then"]
        parts.append(Table(headers, rows, fold="all rounds of this stage"))
    text = (
        f"{_samples(record, stage)}, priced for {stage.profile}. It is there to teach {', '.join(stage.taught)}; what "
        f"grew in its examinations: {_grown(rounds)}. {len(rounds)} rounds; the tables are of round {last.number + 1}."
    )
    return Section(f"Stage {stage.id}: {stage.title}, {state}", text=text, parts=parts)


def _grown(rounds: Sequence[Round]) -> str:
    """Seeds of all networks by blueprint, the commonest first."""
    networks = [net for one in rounds for nets in (one.networks, *one.beside.values()) for net in nets]
    counts = Counter(seed.split(" ", 1)[1] for net in networks for seed in net.seeds)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"


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
                measured(verdict),
                f"{evidence.low:.4g} to {evidence.high:.4g}" if known else "",
                str(evidence.count),
                "yes" if verdict.passed else f"no ({gap(verdict)})",
                evidence.note,
            ]
        )
    return rows


def measured(verdict: Verdict) -> str:
    """The figure as people read it."""
    estimate = verdict.evidence.estimate
    return "not measured" if estimate is None else f"{estimate:.4g}"


def gap(verdict: Verdict) -> str:
    """How far a condition was missed by."""
    return "not measured" if verdict.short_by is None else f"by {verdict.short_by:.3g}"


def _curves(networks: Sequence[NetworkLine]) -> list[list[tuple[float, float]]]:
    return [[(float(window.step), window.accuracy) for window in net.history] for net in networks]


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
            rows.append((f"network {net.seed + 1}, slot {slot}", stretches))
    return rows


def _networks(networks: Sequence[NetworkLine], stage: Stage) -> list[list[str]]:
    return [
        [
            str(net.seed + 1),
            _success(net, stage),
            str(net.result.params),
            str(net.result.macs),
            giga(net.result.training_macs),
            ", ".join(net.seeds) or "none",
        ]
        for net in networks
    ]


def _success(net: NetworkLine, stage: Stage) -> str:
    """What the stage is passed by; where that is measured of all networks together, the task's own metric."""
    own = net.figures.get(stage.success.measure)
    return f"{success_of(net.result):.4g} in torch" if own is None else f"{own:.4g}"


def giga(count: float) -> str:
    """``count`` in 10^9, three digits, or whole where it has more."""
    figure = count / 1e9
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
