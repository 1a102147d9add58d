"""TensorBoard event files of a run: ``tensorboard --logdir RUN/events`` shows growth while it goes on.

Scalars a decision window: loss, accuracy, parameters, drift, learning rate and the blending factor of every slot; a
text for every decision; the final results as scalars of the last step. Written with tensorboard's own writer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_train.run import NetworkResult, RunRecord, WindowRecord

_PATTERN = "events.out.tfevents.*"


def check_installed() -> None:
    """Raise MissingExtraError when tensorboard is not installed."""
    _library()


class EventLog:
    """Event files of one run. Opening one clears what an earlier run, or one that was cut short, left."""

    def __init__(self, folder: Path, *, clear: bool = True, suffix: str = "") -> None:
        self._proto = _library()
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(_PATTERN) if clear else ():
            stale.unlink()
        self._writer = self._proto.EventFileWriter(str(folder), filename_suffix=suffix)

    def window(self, window: WindowRecord) -> None:
        """One point of the learning curve, and the decision before it."""
        scalars = {
            "growth/loss": window.loss,
            "growth/accuracy": window.accuracy,
            "growth/parameters": window.params,
            "growth/drift": window.drift,
            "growth/panics": window.panics,
            "growth/learning_rate": window.learning_rate,
            **{f"alpha/slot_{slot}": alpha for slot, alpha in enumerate(window.alphas)},
        }
        self._scalars(window.step, scalars)
        if window.operation != "wait":
            parts = (window.operation, f"slot {window.slot}", window.blueprint, window.intensity)
            self._text(window.step, "decision", " ".join(str(part) for part in parts if part is not None))
        self._writer.flush()

    def results(self, results: Mapping[str, NetworkResult]) -> None:
        """What came out: one scalar a figure, at the last step."""
        for name, result in results.items():
            scalars = {
                f"result/{name}/test_accuracy": result.test_accuracy,
                f"result/{name}/validation_accuracy": result.validation_accuracy,
                f"result/{name}/test_metric": result.test_metric,
                f"result/{name}/validation_metric": result.validation_metric,
                f"result/{name}/parameters": result.params,
                f"result/{name}/macs": result.macs,
                f"result/{name}/training_macs": result.training_macs,
            }
            self._scalars(result.steps, scalars)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def _scalars(self, step: int, scalars: Mapping[str, float | None]) -> None:
        value = self._proto.Summary.Value
        known = [value(tag=tag, simple_value=float(x)) for tag, x in scalars.items() if x is not None]
        self._add(step, known)

    def _text(self, step: int, tag: str, text: str) -> None:
        tensor = self._proto.make_tensor_proto([text.encode()], dtype=self._proto.DT_STRING, shape=[1])
        metadata = self._proto.create_summary_metadata("", "")
        self._add(step, [self._proto.Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)])

    def _add(self, step: int, values: list[Any]) -> None:
        event = self._proto.Event(wall_time=time.time(), step=step, summary=self._proto.Summary(value=values))
        self._writer.add_event(event)


def write_run(folder: Path, record: RunRecord) -> None:
    """Add a run's results to its event files, and its learning curve when there are none yet."""
    fresh = not any(folder.glob(_PATTERN))
    with EventLog(folder, clear=False, suffix=".results") as log:
        for window in record.history if fresh else ():
            log.window(window)
        log.results(record.results)


def _library() -> SimpleNamespace:
    """Parts of tensorboard, imported only where events are asked for: it loads for a second."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
        from tensorboard.util.tensor_util import make_tensor_proto
    except ImportError as exc:
        raise MissingExtraError("tensorboard", "tensorboard") from exc
    return SimpleNamespace(
        DT_STRING=DT_STRING,
        Event=Event,
        EventFileWriter=EventFileWriter,
        Summary=Summary,
        create_summary_metadata=create_summary_metadata,
        make_tensor_proto=make_tensor_proto,
    )
