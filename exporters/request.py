"""What the exporters are asked to do: plain modules, plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.manifest import InputSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


SMOKE_CALIBRATION = 32
SMOKE_TEST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedModule:
    """A seed in its slot: a shape-preserving module with the residual inside, ``y = seed(x)``."""

    slot: int
    blueprint: str
    module: nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyModule:
    """A policy: float32 (1, observation) -> (1, heads), with samples to check parity on, (N, observation)."""

    module: nn.Module
    samples: NDArray[np.float32]
    blueprints: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """A network to export.

    ``trunk`` holds K+1 pieces for K slots, the last being the head:
    x -> trunk[0] -> slot 0 -> trunk[1] -> ... -> logits. Modules are in eval mode and take
    (batch, channels, height, width) or (batch, features) float32, already scaled.
    ``calibration`` and ``test_inputs`` are raw samples as `InputSpec` describes them, (N, *input.shape);
    labels are (N,).
    ``quantise``: what may be done to keep the accuracy in int8, ``auto``, ``ptq``, ``mixed`` or ``qat``.
    ``version`` of the bundle: a device refuses a lower one than it ran before.
    ``provenance`` goes into the manifest as it stands.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    input: InputSpec
    trunk: Sequence[nn.Module]
    seeds: Sequence[SeedModule]
    calibration: NDArray[np.float32]
    test_inputs: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    policy: PolicyModule | None = None
    budget: Budget | None = None
    accuracy_floor: float | None = None
    quantise: str = "auto"
    version: int = 1
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """Number of slots, filled or not."""
        return len(self.trunk) - 1


def reduced(request: ExportRequest) -> ExportRequest:
    """The same network on a few samples, for trying the path: it calibrates badly and measures next to nothing."""
    return replace(
        request,
        calibration=request.calibration[:SMOKE_CALIBRATION],
        test_inputs=request.test_inputs[:SMOKE_TEST],
        test_labels=request.test_labels[:SMOKE_TEST],
    )
