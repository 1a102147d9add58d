"""Step 1: the request checked and cut into pieces, with torch's answers that everything later is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporters.network import Gates, Network, capture, scaled
from exporters.request import ExportRequest
from exporters.steps.outcome import Outcome, ok
from tamiyo_runtime.contracts.errors import AccuracyFloorError
from tamiyo_runtime.contracts.plan import Configuration
from tamiyo_runtime.contracts.units import percent, si

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The network in pieces; ``wanted``: torch's logits on the test set, (N, classes), by configuration."""

    request: ExportRequest
    network: Network
    wanted: Mapping[str, NDArray[np.float32]]
    accuracy: Mapping[str, float]

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Every subset of the seeds, the bare host first and the full network last."""
        return self.network.configurations

    @property
    def gates(self) -> dict[str, Gates]:
        """Gates by configuration id."""
        return {item.id: item.gates for item in self.configurations}


def run(request: ExportRequest) -> tuple[Captured, Outcome]:
    """Capture a request that has been checked.

    Raises IncompatibleError when the pieces do not fit together, AccuracyFloorError when torch itself misses the floor.
    """
    network = capture(request)
    real = scaled(request, request.test_inputs)
    wanted = {item.id: network.logits(real, item.gates) for item in network.configurations}
    accuracy = {name: float(np.mean(logits.argmax(axis=1) == request.test_labels)) for name, logits in wanted.items()}
    _check_floor(request, accuracy[network.full.id])
    captured = Captured(request=request, network=network, wanted=wanted, accuracy=accuracy)
    seeds = len(network.seeded)
    params = si(sum(piece.params for piece in network.pieces), "").strip()
    host, full = percent(accuracy[network.host.id]), percent(accuracy[network.full.id])
    return captured, ok(
        f"{request.name}: {seeds} seed{'s' * (seeds != 1)}, {params} parameters; host {host}, full {full}",
        *(
            f"{piece.name}: {piece.blueprint or piece.kind.value}, {piece.params} parameters"
            for piece in network.pieces
        ),
    )


def _check_floor(request: ExportRequest, full: float) -> None:
    """No conversion is worth its minutes when the network that is converted misses the floor."""
    floor = request.accuracy_floor
    if floor is not None and full < floor:
        raise AccuracyFloorError(
            f"{percent(full)} on the test set with all seeds, in torch, below the floor of {percent(floor)}",
            hint="train longer or with other growth, or lower --accuracy-floor",
        )
