"""What the demo prints at its end, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_runtime.cli.demo.pages import Story
from tamiyo_runtime.cli.render import say, table
from tamiyo_runtime.cli.run_view import as_data
from tamiyo_runtime.contracts.errors import BudgetError, IntegrityError
from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent
from tamiyo_runtime.spool import boot_name

_FLOOR = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The story with where its files are. A smoke run is not judged by accuracy."""

    story: Story
    report: Path
    bundles: Sequence[Path]
    smoke: bool

    def as_data(self) -> dict[str, Any]:
        """For ``--json``."""
        story = self.story
        return {
            "results": [
                {"network": name, "test_accuracy": accuracy, "params": params, "macs": macs}
                for name, accuracy, params, macs in story.growth.results
            ],
            "boards": {run.device: as_data(run.result) for run in story.runs},
            "ledger": [
                {
                    "device": e.device,
                    "boot": boot_name(e.boot),
                    "sent": e.sent,
                    "stored": e.stored,
                    "lost": dict(e.lost),
                }
                for e in story.ledger
            ],
            "elapsed_s": story.elapsed_s,
            "report": str(self.report),
            "bundles": [str(path) for path in self.bundles],
        }

    def show(self) -> None:
        """For people."""
        story = self.story
        say()
        rows = [[name, percent(accuracy), params, macs] for name, accuracy, params, macs in story.growth.results]
        table(["network", "test accuracy", "params", "MACs"], rows)
        say()
        rows = []
        for run in story.runs:
            s, counters = run.result.summary, run.result.counters
            rows.append(
                [
                    run.device,
                    run.manifest.target,
                    s.samples,
                    percent(s.accuracy or 0.0),
                    milliseconds(s.latency_p50_ms or 0.0),
                    microjoules(s.energy_uj / max(1, s.inferences)),
                    s.deadline_misses,
                    s.skipped,
                    s.decisions,
                    f"{run.result.airtime_worst_hour_s or 0.0:.1f} of {run.airtime_cap_s:.0f} s",
                    counters.transmissions if counters else 0,
                ]
            )
        headers = ["board", "target", "images", "accuracy", "p50", "energy each", "missed", "skipped", "decisions"]
        table([*headers, "airtime/h", "frames"], rows)
        say("latency, energy and airtime are simulated; accuracy is measured")
        say()
        rows = [
            [e.device, boot_name(e.boot), e.sent, e.stored, sum(e.lost.values()), "yes" if e.balanced else "no"]
            for e in story.ledger
        ]
        table(["device", "boot", "records sent", "stored", "lost", "balanced"], rows)
        say()
        say(f"done in {story.elapsed_s:.0f} s; look at {self.report}")
        say(f"Next:  tamiyo inspect {self.bundles[0]} | tamiyo verify {self.bundles[0]} | tamiyo run {self.bundles[0]}")

    def judge(self) -> None:
        """Raise when the demo did not show what it is there to show."""
        unbalanced = [entry.device for entry in self.story.ledger if not entry.balanced]
        if unbalanced or not self.story.ledger:
            raise IntegrityError(
                f"the ledger does not balance: {', '.join(unbalanced) or 'no device was heard of'}",
                hint=f"{self.report.parent / 'telemetry'} holds spools and store",
            )
        name, accuracy, *_ = self.story.growth.results[0]
        if accuracy < _FLOOR and not self.smoke:
            raise BudgetError(
                f"the {name} reaches {percent(accuracy)}, less than {percent(_FLOOR)}", hint="try another --seed"
            )
