"""The acts of the demo in order: grow, export twice, run two boards against one broker and collector, report."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tamiyo_runtime.cli.demo.scenario import scenario_for
from tamiyo_runtime.cli.demo.summary import Summary
from tamiyo_runtime.cli.render import note, progress
from tamiyo_runtime.contracts.errors import InputError

if TYPE_CHECKING:
    from collector.service import Collector
    from tamiyo_runtime.cli.demo.pages import BoardRun, Exported, Growth
    from tamiyo_runtime.transport.broker import BrokerHandle
    from tamiyo_train.run import Run

_MARKER = ".tamiyo-demo"
_LINK = "lora-eu868"
_FLEET = "demo"
_AIRTIME_POINTS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board of the demo: the target it is exported for, and how many samples it sees, one every ``period_s``."""

    device: str
    target: str
    samples: int
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where and how the demo plays."""

    out: Path
    seed: int
    workers: int
    smoke: bool
    overwrite: bool
    quiet: bool = False
    boards: tuple[Board, ...] = field(
        default=(
            Board(device="pi-4", target="raspberry-pi-4", samples=1440, period_s=2.5),
            Board(device="coral", target="edge-tpu", samples=360, period_s=2.5),
        )
    )

    def check(self) -> None:
        """Refuse to touch a folder that is not an earlier demo's; raises InputError, or MissingExtraError at once."""
        import matplotlib as _matplotlib  # noqa: F401  found missing now rather than after two minutes

        if not self.out.exists():
            return
        if not self.out.is_dir() or (any(self.out.iterdir()) and not (self.out / _MARKER).exists()):
            raise InputError(f"{self.out} is not the folder of an earlier demo", hint="choose another with --out")
        if any(self.out.iterdir()) and not self.overwrite:
            raise InputError(f"{self.out} holds an earlier demo", hint="pass --overwrite to replace it")

    def outline(self) -> list[str]:
        """What would be done, a line each."""
        lines = [f"grow a network on the digits with {self.workers} processes, seed {self.seed}: {self.out / 'run'}"]
        for board in self.boards:
            lines.append(f"export it for {board.target}: {self._bundle(board)}")
        for board in self.boards:
            minutes = board.samples * board.period_s / 60
            lines.append(f"run {board.samples} images ({minutes:.0f} simulated minutes) on {board.device} over {_LINK}")
        return [*lines, f"collect over an MQTT broker on this machine and write {self.out / 'report.html'}"]

    def play(self) -> Summary:
        """Do it all."""
        from tamiyo_runtime.cli.demo.pages import Story, render
        from tamiyo_runtime.files import write_atomic_text

        started_s = time.monotonic()
        self._clear()
        # The broker first: the export toolchain starts threads, after which no process should be forked.
        with self._collecting() as (broker, collector):
            run, growth = self._grow()
            exported = [self._export(run, board) for board in self.boards]
            runs = [self._run(board, broker.url) for board in self.boards]
            ledger = collector.store.ledger()
            reasons = Counter(decision.reason.value for _, decision in collector.store.decisions())
        story = Story(
            growth=growth,
            exported=exported,
            runs=runs,
            ledger=ledger,
            broker=f"{broker.name} ({broker.notes})",
            reasons=dict(reasons.most_common()),
            elapsed_s=time.monotonic() - started_s,
        )
        report = self.out / "report.html"
        with progress("report"):
            write_atomic_text(report, render(story), overwrite=True)
        return Summary(
            story=story, report=report, bundles=[self._bundle(board) for board in self.boards], smoke=self.smoke
        )

    @property
    def _state(self) -> Path:
        return self.out / "telemetry"

    def _bundle(self, board: Board) -> Path:
        return self.out / f"digits-{board.target}.tamiyo"

    def _clear(self) -> None:
        """An empty folder with our mark in it; `check` has made sure that nothing of anybody else's is there."""
        if self.out.exists():
            shutil.rmtree(self.out)
        self.out.mkdir(parents=True)
        (self.out / _MARKER).write_text("tamiyo demo may replace this folder\n")

    def _grow(self) -> tuple[Run, Growth]:
        from tamiyo_runtime.cli.demo.growth import growth_of
        from tamiyo_runtime.cli.train_cmd import reported
        from tamiyo_train.checkpoint import save_run
        from tamiyo_train.config import TrainConfig, smoke
        from tamiyo_train.experiment import train

        config = TrainConfig(seed=self.seed, profile="raspberry-pi-4")
        if self.smoke:
            config = smoke(config)
        with reported() as on_progress:
            run = train(config, workers=self.workers, on_progress=on_progress)
        save_run(self.out / "run", run, overwrite=False)
        return run, growth_of(run.record)

    def _export(self, run: Run, board: Board) -> Exported:
        from dataclasses import replace

        from exporters.pipeline import export
        from tamiyo_runtime.bundle import Bundle
        from tamiyo_runtime.cli.demo.pages import Exported
        from tamiyo_runtime.cli.export_cmd import request_of
        from tamiyo_runtime.cli.export_view import Steps
        from tamiyo_runtime.signing import SigningKey
        from tamiyo_train.handover import pieces

        note(f"export for {board.target}")
        path = self._bundle(board)
        request = request_of(pieces(run))
        if self.smoke:
            request = replace(request, accuracy_floor=0.0)
        show = Steps(quiet=self.quiet).show
        report = export(request, board.target, path, key=SigningKey.default(), smoke=self.smoke, on_step=show)
        steps = [(step.name, step.status.value, step.message) for step in report.steps]
        return Exported(manifest=Bundle.open(path).manifest, bytes=path.stat().st_size, steps=steps)

    @contextlib.contextmanager
    def _collecting(self) -> Iterator[tuple[BrokerHandle, Collector]]:
        """One broker and one collector for all boards."""
        from collector.service import Collector
        from tamiyo_runtime.transport.broker import start_broker

        with start_broker("auto", self._state / "broker") as broker:
            note(f"broker: {broker.name} at {broker.url} ({broker.notes})")
            collector = Collector(broker.url, self._state / "telemetry.db", _FLEET)
            collector.start(timeout_s=15.0)
            try:
                yield broker, collector
            finally:
                collector.stop()

    def _run(self, board: Board, url: str) -> BoardRun:
        from simulators.links.lora import LIMIT_S_PER_HOUR, LoRaLink
        from tamiyo_runtime.bundle import Bundle
        from tamiyo_runtime.cli.demo.pages import BoardRun
        from tamiyo_runtime.cli.field import FieldRun
        from tamiyo_runtime.cli.field_terms import FieldRequest

        started_s = time.monotonic()
        bundle = Bundle.open(self._bundle(board))
        samples = 60 if self.smoke else board.samples
        scenario = scenario_for(
            bundle.manifest.variants[0].runnables, bundle.manifest.profile, samples=samples, period_s=board.period_s
        )
        request = FieldRequest(
            device="simulated",
            link=_LINK,
            broker=url,
            device_id=board.device,
            fleet=_FLEET,
            state_dir=self._state,
            plan=scenario.plan,
            throttle=scenario.throttle,
            seed=self.seed,
        )
        with FieldRun(bundle, request) as run, progress(f"run {board.device}", samples) as bar:
            result = run.run(lambda tally, mode: bar.advance(remark=str(mode)))
        if not isinstance(run.link, LoRaLink):
            raise TypeError(f"{_LINK} is {type(run.link).__name__}")
        times_s = [scenario.duration_s * i / _AIRTIME_POINTS for i in range(_AIRTIME_POINTS + 1)]
        used_s = [run.link.airtime_used_s(now_s - 3600.0, now_s) for now_s in times_s]
        return BoardRun(
            device=board.device,
            manifest=bundle.manifest,
            variant=run.executor.variant,
            scenario=scenario,
            result=result,
            airtime=([t / 60 for t in times_s], used_s),
            airtime_cap_s=LIMIT_S_PER_HOUR,
            wall_s=time.monotonic() - started_s,
        )
