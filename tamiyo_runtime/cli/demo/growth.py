"""A training run as the report tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tamiyo_runtime.cli.demo.pages import Growth
from tamiyo_runtime.cli.report.plots import Mark
from tamiyo_runtime.contracts.units import percent

if TYPE_CHECKING:
    from tamiyo_train.run import RunRecord

_NAMES = {
    "grown": "grown network",
    "ungrown": "same host, ungrown",
    "twin": "static twin (final topology from scratch)",
}


def growth_of(record: RunRecord) -> Growth:
    """Curve, graft events, results and facts of a run."""
    marks = [
        Mark(
            float(window.step),
            " ".join(str(part) for part in (window.operation, window.slot, window.blueprint) if part is not None),
        )
        for window in record.history
        if window.operation != "wait"
    ]
    results = [
        (_NAMES[name], record.results[name].test_accuracy, record.results[name].params, record.results[name].macs)
        for name in ("grown", "ungrown", "twin")
    ]
    facts = [
        (
            f"seed in slot {seed.slot}: {seed.blueprint}",
            f"adds {percent(seed.contribution)} (at least {percent(seed.contribution_low)} at 95 %) on the validation "
            f"split, for {seed.params} parameters and {seed.macs:,} MACs",
        )
        for seed in record.seeds
    ]
    facts += [
        (
            f"{summary.episodes} episodes of {method}",
            f"mean utility {summary.mean_utility:.3f}, accuracy {percent(summary.mean_accuracy)}, "
            f"{summary.mean_params:.0f} parameters",
        )
        for method, summary in record.methods.items()
    ]
    return Growth(
        steps=[window.step for window in record.history],
        accuracy=[window.accuracy for window in record.history],
        marks=marks,
        results=results,
        facts=facts,
    )
