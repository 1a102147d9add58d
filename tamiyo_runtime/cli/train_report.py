"""What ``tamiyo train`` and ``tamiyo evaluate`` show of a run, and how far one in progress has come."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.cli.render import Progress, progress, say, table

if TYPE_CHECKING:
    from tamiyo_train.config import TrainConfig
    from tamiyo_train.measures import Measure
    from tamiyo_train.memory import ActivationReport
    from tamiyo_train.progress import OnProgress
    from tamiyo_train.regions.division import Region
    from tamiyo_train.run import RunRecord


@contextlib.contextmanager
def reported() -> Iterator[OnProgress]:
    """A callback that shows each phase of a run as a progress line, and closes the last one; so does a phase without a
    name, for who has something else to say."""
    with contextlib.ExitStack() as stack:
        bars: dict[str, Progress] = {}

        def on_progress(phase: str, done: int, total: int, remark: str) -> None:
            if not phase:
                stack.pop_all().close()
                return
            if phase not in bars:
                stack.pop_all().close()
                bars[phase] = stack.enter_context(progress(phase, total, done=done))
            bars[phase].advance(done - bars[phase].done, remark)

        yield on_progress


def summary(folder: Path, record: RunRecord) -> dict[str, Any]:
    """A run as JSON-ready data."""
    from tamiyo_runtime.contracts.document import dump

    data = dump(record)
    splits = [{"step": entry["step"], **entry["data"]} for entry in record.audit if entry["kind"] == "split"]
    keys = ("task", "seed", "growth", "profile", "metric", "seeds", "results", "methods", "lesson", "configurations")
    return {"run": str(folder), **{key: data[key] for key in keys if key in data}, "splits": splits}


def show_plan(folder: Path, config: TrainConfig, memory: ActivationReport, regions: Sequence[Region]) -> None:
    """What a run would do, in which regions of its host, and what a training step of the bare host keeps in memory."""
    from tamiyo_train.config import plain
    from tamiyo_train.regions.allocators import EVERY
    from tamiyo_train.regions.learned import Learned

    say(f"would write {folder}")
    body = plain(config)
    schedule = body.pop("schedule", [])
    table(["setting", "value"], [[key, value] for key, value in _flat(body)])
    if regions:
        names = ", ".join(str(region) for region in regions)
        say(f"regions of slots: {names}; '{Learned.name}' splits what is left of the budget every {EVERY} windows")
    if schedule:
        say()
        keys = ["window", "step", "operation", "slot", "blueprint", "intensity"]
        table(keys, [[decision.get(key) for key in keys] for decision in schedule])
    say()
    table(
        ["piece", "kept for the backward pass (KiB)"],
        [[piece.name, f"{piece.saved_bytes / 1024:.1f}"] for piece in memory.pieces],
    )
    say(
        f"in all {memory.saved_bytes / 1024:.1f} KiB in a training step of the bare host, batch {memory.batch} "
        "(measured); seeds add to it"
    )


def _flat(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested settings under dotted names."""
    for key, value in body.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def show_run(folder: Path, record: RunRecord) -> None:
    """What a run has made."""
    filled = f"{len(record.seeds)} of {record.slots} slots filled"
    say(f"{record.task}: grown by {record.growth}{whose(record)}, {filled}, in {folder}")
    if record.seeds:
        table(
            ["slot", "seed", "parameters", "MACs", "accuracy it adds", "at least (95 %)"],
            [
                [s.path or s.slot, s.blueprint, s.params, s.macs, f"{s.contribution:.1%}", f"{s.contribution_low:.1%}"]
                for s in (*record.seeds, *record.inner_seeds)
            ],
        )
        say("(on the validation split, at the end; the gates judged an earlier network, by the probability it gave")
        say("to the right class)")
        say()
    show_splits(record)
    show_results(record)
    if record.methods:
        say()
        table(
            ["short episodes by", "episodes", "mean utility", "mean accuracy", "mean parameters"],
            [
                [name, m.episodes, f"{m.mean_utility:.3f}", f"{m.mean_accuracy:.1%}", f"{m.mean_params:.0f}"]
                for name, m in sorted(record.methods.items(), key=lambda item: -item[1].mean_utility)
            ],
        )


def whose(record: RunRecord) -> str:
    """Whose policy decided, in brackets; nothing where the run taught its own, or no policy decided."""
    came_from = record.lesson.get("from") if record.growth == "policy" else None
    if came_from is None:
        return ""
    known = {"shipped": "the one that comes with the package", "course": "the one that a course taught"}
    return f" ({known.get(came_from, 'that of another run')})"


def show_splits(record: RunRecord) -> None:
    """How the budget was split over the regions of the host, as the audit log has it; nothing where it has none."""
    splits = [entry for entry in record.audit if entry["kind"] == "split"]
    if not splits:
        return
    regions = splits[0]["data"]["regions"]
    table(
        ["step", "split", *(f"slots {region}" for region in regions)],
        [
            [
                entry["step"],
                entry["data"]["allocator"],
                *(
                    f"{float(share):.0%}, up to {params}"
                    for share, params in zip(entry["data"]["shares"], entry["data"]["params"], strict=True)
                ),
            ]
            for entry in splits
        ],
    )
    say("(share of what was left of the budget, and parameters of the host with the region's seeds it came to)")
    say()


def show_results(record: RunRecord) -> None:
    """The networks side by side."""
    names = {"grown": "grown", "ungrown": "same host, ungrown", "twin": "static twin (grown topology from step 0)"}
    figures = [f"test {name}" for name in metric_names(record)]
    table(
        ["network", "test accuracy", *figures, "parameters", "MACs", "training GMACs"],
        [
            [
                title,
                f"{r.test_accuracy:.1%}",
                *metric_texts(record, r.test_metric),
                r.params,
                r.macs,
                _giga(r.training_macs),
            ]
            for name, title in names.items()
            for r in [record.results[name]]
        ],
    )


def show_measures(measures: Sequence[Measure]) -> None:
    """What a task's networks are held to beside accuracy."""
    sign = {"lower": "at most", "higher": "at least"}
    verdict = {True: "yes", False: "no", None: None}

    def text(measure: Measure, value: float | None) -> str | None:
        if value is None:
            return None
        return f"{value:.1%}" if measure.unit == "share" else f"{value:.3f}"

    table(
        ["measured on the test set", "figure", "bound (95 %)", "limit", "held"],
        [
            [
                measure.name,
                text(measure, measure.value),
                text(measure, measure.bound),
                None if measure.limit is None else f"{sign[measure.better]} {text(measure, measure.limit)}",
                verdict[measure.held],
            ]
            for measure in measures
        ],
    )


def metric_names(record: RunRecord) -> list[str]:
    """Titles of the columns that a run's tables have beside accuracy: its task's own metric, if it has one."""
    return [] if record.metric == "accuracy" else [record.metric]


def metric_texts(record: RunRecord, value: float | None) -> list[str | None]:
    """A cell for each of `metric_names`."""
    from tamiyo_train.metrics import metrics

    return [None if value is None else metrics.get(name).text(value) for name in metric_names(record)]


def _giga(count: float) -> str:
    """``count`` in 10^9: one decimal, and below 1 two digits, so that small networks do not seem to train for free."""
    figure = count * 1e-9
    return f"{figure:.1f}" if figure >= 1 or figure == 0 else f"{figure:.2g}"
