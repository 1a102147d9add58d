"""Networks that never saw tamiyo: a plain torch module as an export request, without slots, seeds or policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exporters.request import ExportRequest
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from exporters.report import ExportReport
    from tamiyo_runtime.signing import SigningKey

LAYOUTS = {1: "F", 2: "CL", 3: "CHW"}


def request_of_module(
    module: nn.Module,
    *,
    name: str,
    classes: tuple[str, ...],
    calibration: NDArray[np.float32],
    test_inputs: NDArray[np.float32],
    test_labels: NDArray[np.int64],
    spec: InputSpec | None = None,
    accuracy_floor: float | None = None,
) -> ExportRequest:
    """A classifier, (batch, ...) float32 -> (batch, classes), as an export request; it is put into eval mode.

    ``calibration`` and ``test_inputs`` are samples as a sensor gives them, (N, ...). ``spec`` says how they are scaled;
    by default they are fed as they are, and values lie in the range that these samples have. Raises InputError for
    samples that no default describes.
    """
    return ExportRequest(
        name=name,
        task=name,
        classes=classes,
        input=spec or spec_of(calibration, test_inputs),
        trunk=[module.eval()],
        seeds=[],
        calibration=np.asarray(calibration, np.float32),
        test_inputs=np.asarray(test_inputs, np.float32),
        test_labels=np.asarray(test_labels, np.int64),
        accuracy_floor=accuracy_floor,
    )


def export_module(request: ExportRequest, target: str, out: Path, *, key: SigningKey | None = None) -> ExportReport:
    """Export for a target, signed by ``key`` or your development key; replaces ``out``.

    Raises what `exporters.pipeline.export` does.
    """
    from exporters.pipeline import export
    from tamiyo_runtime.signing import SigningKey

    return export(request, target, out, key=key or SigningKey.default(), overwrite=True)


def spec_of(*samples: NDArray[np.float32], scale: float = 1.0, offset: float = 0.0) -> InputSpec:
    """What samples, (N, ...), are: their axes by number, and the range of values they have."""
    shape = tuple(samples[0].shape[1:])
    if len(shape) not in LAYOUTS:
        raise InputError(
            f"samples of shape {list(samples[0].shape)}: want (N, features), (N, channels, length) or "
            "(N, channels, height, width)",
            hint="batch first, then one sample's axes",
        )
    if not all(np.isfinite(item).all() for item in samples):
        raise InputError("samples hold a NaN or an infinity", hint="clean the data before exporting")
    low, high = min(float(item.min()) for item in samples), max(float(item.max()) for item in samples)
    if low == high:
        raise InputError(f"every value of the samples is {low:g}", hint="samples must be like real ones")
    return InputSpec(shape=shape, layout=LAYOUTS[len(shape)], offset=offset, scale=scale, raw_low=low, raw_high=high)
