"""Post-training quantisation of a whole variant: ranges from calibration, settled once, and int8 graphs made of them.

The ranges are kept, so that the same graphs can be made again with some operators left in float at the cost of the
quantiser alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exporters.backends import quantiser
from exporters.backends.flatbuffer import INPUT, OUTPUT, read_model
from exporters.backends.ranges import End, Ranges, settle
from exporters.backends.tflite import channels_last_array
from exporters.network import Joint, Network
from exporters.targets import VariantRecipe
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.plan import Seam

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GATE_SEED = 20260101  # of the random gates during calibration: the same bundle from the same request
MARGIN = 0.05
"""Share by which ranges exceed what calibration saw: the next samples do, a little, and what is clipped is noise."""

Floating = Mapping[str, Collection[str]]
"""Output tensors of the operators that stay in float, by graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The float graphs of a variant by name, their settled ranges and what entered each of them, (N, *input).

    ``chains``: graphs of each configuration, in order. ``joints``: tensors that must have one quantisation, by where.
    """

    recipe: VariantRecipe
    files: Mapping[str, bytes]
    ranges: Mapping[str, Ranges]
    feeds: Mapping[str, NDArray[np.float32]]
    chains: Mapping[str, tuple[str, ...]]
    joints: Mapping[str, tuple[End, ...]]
    seams: tuple[Seam, ...] = field(default=())

    def quantise(self, floating: Floating | None = None) -> dict[str, bytes]:
        """The int8 graphs by name; raises IncompatibleError when an operator has no int8 form."""
        int8 = {name: self.quantise_graph(name, (floating or {}).get(name, ())) for name in self.files}
        for where, tensors in self.joints.items():
            problem = quantiser.seam_mismatch(int8, tensors)
            if problem is not None:
                raise TamiyoError(f"the quantisation differs at {where}: {problem}", hint="please report this")
        return int8

    def quantise_graph(self, name: str, floating: Collection[str]) -> bytes:
        """One int8 graph with the operators that write ``floating`` left in float."""
        return quantiser.quantise(
            self.files[name],
            self.ranges[name],
            per_tensor_dense=self.recipe.per_tensor_dense,
            name=name,
            floating=sorted(floating),
        )


def segments(
    network: Network, recipe: VariantRecipe, files: Mapping[str, bytes], real: NDArray[np.float32]
) -> Calibrated:
    """One graph a piece, measured on what enters it under random gates; every tensor at a seam is given one range."""
    entering = network.traffic(real, seed=GATE_SEED)
    feeds = {piece.name: channels_last_array(entering[piece.name]) for piece in network.pieces}
    idle = {name for name, data in files.items() if not read_model(data).operators}
    ends = {joint.slot: tuple(_existing(end, idle) for end in joint.ends) for joint in network.joints}
    ranges = _settled(files, feeds, ends)
    return Calibrated(
        recipe=recipe,
        files=files,
        ranges=ranges,
        feeds=feeds,
        chains={item.id: tuple(piece.name for piece in network.chain(item.gates)) for item in network.configurations},
        joints={f"slot {slot}": tensors for slot, tensors in ends.items()},
        seams=tuple(_seam(joint, *ranges[joint.readers[0]][INPUT]) for joint in network.joints),
    )


def wholes(recipe: VariantRecipe, files: Mapping[str, bytes], real: NDArray[np.float32]) -> Calibrated:
    """One graph a configuration; all take and answer in one quantisation, so that a runtime can switch freely."""
    feeds = {name: channels_last_array(real) for name in files}
    ends = {end: tuple((name, end) for name in files) for end in (INPUT, OUTPUT)}
    return Calibrated(
        recipe=recipe,
        files=files,
        ranges=_settled(files, feeds, ends),
        feeds=feeds,
        chains={name: (name,) for name in files},
        joints={f"tensor '{end}' of the configurations": tensors for end, tensors in ends.items()},
    )


def torch_seams(network: Network, real: NDArray[np.float32]) -> tuple[Seam, ...]:
    """Ranges at the slots as torch computes them; what a whole-network int8 graph sees, though not forced there."""
    entering = network.traffic(real, seed=GATE_SEED)
    seams = []
    for joint in network.joints:
        values = [entering[name] for name in joint.readers]
        seams.append(_seam(joint, min(float(v.min()) for v in values), max(float(v.max()) for v in values)))
    return tuple(seams)


def _existing(end: End, idle: Collection[str]) -> End:
    """A piece that does nothing gives the tensor that it takes, so that the seams on both its sides are one."""
    return (end[0], INPUT) if end[0] in idle else end


def _seam(joint: Joint, low: float, high: float) -> Seam:
    return Seam(slot=joint.slot, shape=joint.shape, low=low, high=high)


def _settled(
    files: Mapping[str, bytes], feeds: Mapping[str, NDArray[np.float32]], ends: Mapping[Any, tuple[End, ...]]
) -> dict[str, Ranges]:
    ranges = {
        name: {
            tensor: (low * (1 + MARGIN), high * (1 + MARGIN))
            for tensor, (low, high) in quantiser.measure(data, feeds[name], name=name).items()
        }
        for name, data in files.items()
    }
    return settle({name: read_model(data) for name, data in files.items()}, ranges, ends.values())
