"""Processes that are killed while they swap a seed and save: the old state or the new one is there, whole.

The child is a real process, which begins with what is on disk. It changes the network, trains, writes its audit log and
saves; a tracer counts the lines of Python it runs in doing so and sends itself SIGKILL at a line drawn in advance. The
restart is a fresh episode that reads what the dead process left.

The child comes from the server of `tamiyo_train.pool`, which has one thread and little but torch loaded. A fork of this
process would take along whatever locks its other threads hold.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tamiyo_runtime import files
from tamiyo_train import audit_file, tensorfile, vault
from tamiyo_train.audit import verify
from tamiyo_train.audit_file import AuditFile, read_entries
from tamiyo_train.faults.checkpoints import restarted
from tamiyo_train.faults.kinds import Outcome, kinds
from tamiyo_train.faults.scene import Scene
from tamiyo_train.lifecycle import State
from tamiyo_train.pool import prepare
from tamiyo_train.seeding import one_thread
from tamiyo_train.snapshot import digest
from tamiyo_train.vault import Vault

_TRACED = frozenset(str(module.__file__) for module in (audit_file, files, tensorfile, vault))
"""Where a process can be killed: everything that touches the disk."""
_PUTTING_IN_PLACE = 0.97
"""Share of the lines after which the new state begins to be put in place: half of the kills are drawn from there."""


@kinds.register("killed-mid-swap")
def killed_mid_swap(scene: Scene, rng: np.random.Generator) -> Outcome:
    """The process dies at a line drawn at random of all it runs between the swap and the end of the save."""
    name, swap = _SWAPS[rng.integers(len(_SWAPS))]
    before = {digest(scene.trainer): scene.accuracy()}
    with tempfile.TemporaryDirectory(prefix="tamiyo-fault-") as folder:
        rehearsal, real = Path(folder) / "rehearsal", Path(folder) / "real"
        for place in (rehearsal, real):
            Vault(place).keep(scene)
        lines = _Lines()
        with lines:
            _swap_and_save(scene, swap, rehearsal)
        after = {digest(scene.trainer): scene.accuracy()}
        scene.rewind()
        part = float(rng.uniform() if rng.random() < 0.5 else rng.uniform(_PUTTING_IN_PLACE, 1.0))
        line = max(1, round(part * lines.count))
        status = _ended(scene, name, real, line)
        log = real / audit_file.NAME
        verify(read_entries(log) if log.exists() else ())  # it may have died before it opened its log
        outcome = restarted(scene, Vault(real), f"{name}, killed {part:.1%} of the way", before | after)
        if status == -signal.SIGKILL:
            return outcome
        told = "survived" if status == 0 else f"ended by itself, with exit status {status}"
        return Outcome(fault=outcome.fault, steps=None, whole=False, metric=None, told=told)


def _germinate(scene: Scene) -> None:
    gardener = scene.gardener
    slot = scene.room()[0]
    gardener.germinate(slot, next(i for i in range(1, len(gardener.blueprints)) if gardener.fits(slot, i)), 2)


def _cull(scene: Scene) -> None:
    scene.gardener.cull(scene.network.slots_in(State.BLENDING)[0], "swapped")


def _advance(scene: Scene) -> None:
    scene.gardener.advance(scene.reading, scene.network.slots_in(State.TRAINING)[0])


_SWAPS: tuple[tuple[str, Callable[[Scene], None]], ...] = (
    ("germinating", _germinate),
    ("culling", _cull),
    ("advancing", _advance),
)


def _swap_and_save(scene: Scene, swap: Callable[[Scene], None], folder: Path) -> None:
    told = len(scene.audit.entries)
    swap(scene)
    with AuditFile(folder / audit_file.NAME, batch=1) as log:
        for entry in scene.audit.entries[told:]:
            log.append(entry.kind, step=entry.step, **entry.data)
        scene.mark()
        scene.train(2)
        Vault(folder).keep(scene)


class _Lines:
    """Counts lines run in the traced files; calls ``at_last`` at line number ``last``."""

    def __init__(self, last: int | None = None, at_last: Callable[[], None] | None = None) -> None:
        self.count = 0
        self._last, self._at_last = last, at_last

    def __enter__(self) -> _Lines:
        self._outer = sys.gettrace()  # somebody else's, such as a measurement of test coverage
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._outer)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in _TRACED:
            return None
        if event == "line":
            self.count += 1
            if self.count == self._last and self._at_last is not None:
                self._at_last()
        return self._trace


def _ended(scene: Scene, swap: str, folder: Path, line: int) -> int | None:
    """Let a process take up the state in a folder, swap, save and die at a line; its exit status, -9 when it did."""
    prepare()
    child = multiprocessing.get_context("forkserver").Process(
        target=_swap_and_die, args=(scene.source, scene.seed, swap, folder, line), daemon=True
    )
    child.start()
    child.join()
    status = child.exitcode
    child.close()
    return status


def _swap_and_die(source: tuple[str, str | None], seed: int, swap: str, folder: Path, line: int) -> None:
    """What the child does."""
    with one_thread():
        scene = Scene(*source, seed)
        Vault(folder).bring(scene)
        with _Lines(line, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            _swap_and_save(scene, dict(_SWAPS)[swap], folder)
