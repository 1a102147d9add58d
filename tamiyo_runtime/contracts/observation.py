"""What the policy sees, and how its one output vector is laid out: shared by training, export and the runtime.

An observation is one float32 vector: the global features, then the features of slot 0, slot 1, ... in the orders below.
A feature that is not known in the present phase is 0 and says so through its phase flag (``running``): nothing is ever
made up. Normalisation statistics are frozen at training time and live *inside* the exported graph.

The output is one vector of raw logits and values; masks and softmax are applied outside the graph, since -inf ruins
int8. ``Heads`` says where each head lies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tamiyo_runtime.contracts.errors import SchemaError

OBSERVATION = "tamiyo.observation/1"
HEADS = "tamiyo.heads/1"

GLOBAL_FEATURES: tuple[str, ...] = (
    "running",  # 1 on a device, 0 while growing
    "loss_level",  # smoothed training loss, nats
    "loss_slope",  # change of the smoothed loss a decision window, nats
    "loss_curvature",  # change of the slope, nats
    "generalisation_gap",  # training minus validation accuracy, fraction
    "accuracy",  # growing: validation accuracy; running: measured accuracy of the configuration in use
    "params_left",  # share of the parameter budget not yet used
    "macs_left",  # share of the MAC budget not yet used
    "latency_left",  # 1 - latency / deadline: growing of the whole network, running of the configuration in use
    "energy_left",  # growing: 1 - energy / budget; running: fill of the token bucket
    "steps_left",  # share of the episode's steps left
    "throttle_log2",  # log2 of the latency multiplier of the board at present; 0 when it runs at its rated speed
    "full_latency_ratio",  # latency of the largest configuration at present / deadline
    "host_latency_ratio",  # latency of the bare host at present / deadline
    "full_power_ratio",  # power the largest configuration would draw at the present rate / power budget
    "host_power_ratio",  # the same of the bare host
    "link_level",  # share of the link's hourly airtime credit left, 1 on a link without a limit
    "profile_log10_macs_per_ms",  # rated speed of the device
    "profile_log10_dispatch_us",  # time a graph invocation takes at the least
    "profile_log10_active_mw",  # board power while computing
)

SLOT_FEATURES: tuple[str, ...] = (
    "is_free",  # DORMANT: a seed may be germinated here
    "is_training",  # GERMINATED or TRAINING
    "is_blending",  # BLENDING
    "is_probation",  # SHADOWING or PROBATIONARY
    "is_fossilised",  # FOSSILISED
    "is_embargoed",  # CULLED or EMBARGOED
    "alpha",  # blending factor, 0..1; running: 1 when the seed is switched on
    "age",  # decision windows since birth / windows in an episode
    "log_gradient_ratio",  # ln of the seed's gradient norm over the host's
    "drift",  # 1 - cosine of the slot's output with and without the seed
    "log_norm_ratio",  # log2 of the norm of the slot's output with / without the seed
    "activation_variance",  # variance over samples of the slot's output
    "contribution",  # counterfactual: accuracy with minus without the seed, fraction
    "utilisation",  # leave-one-out loss increase / loss
    "relative_params",  # seed's parameters / host's
    "relative_macs",  # seed's MACs / host's
    "relative_latency",  # seed's latency / deadline
    "depth",  # position of the slot, 0 the first, 1 the last
)


class Operation(IntEnum):
    """What the policy can ask for while a network grows. WAIT is always legal."""

    WAIT = 0
    GERMINATE = 1
    ADVANCE = 2
    PRUNE = 3
    FOSSILISE = 4


INTENSITIES: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0, 3.0)
"""Multipliers of the host's learning rate a new seed can be given; 0 is not expressible, that is WAIT."""


def observation_size(slots: int) -> int:
    """Length of the observation vector of a host with that many slots."""
    return len(GLOBAL_FEATURES) + slots * len(SLOT_FEATURES)


def observe(features: Mapping[str, float], slots: Sequence[Mapping[str, float]]) -> list[float]:
    """The observation vector; a feature left out is 0, an unknown one raises SchemaError."""
    vector = _ordered(features, GLOBAL_FEATURES, "global")
    for index, slot in enumerate(slots):
        vector += _ordered(slot, SLOT_FEATURES, f"slot {index}")
    return vector


def _ordered(features: Mapping[str, float], names: tuple[str, ...], where: str) -> list[float]:
    unknown = features.keys() - set(names)
    if unknown:
        raise SchemaError(f"observation ({where})", f"unknown feature '{min(unknown)}'")
    return [float(features.get(name, 0.0)) for name in names]


@dataclass(frozen=True, slots=True)
class Heads:
    """Where each head lies in the policy's output vector.

    With S slots, B blueprints (no-op is blueprint 0) and I intensities, row-major:
    ``operation`` (5), ``slot`` given operation (5, S), ``blueprint`` given slot (S, B), ``intensity`` given blueprint
    (B, I), ``gates`` of a running device (S), ``value`` (1), ``safety`` (3: drift risk, rollback need, alert),
    ``hardware`` (2: latency ok, memory ok). All are logits but ``value``.
    """

    slots: int
    blueprints: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every head, in the order they are concatenated."""
        operations, intensities = len(Operation), len(INTENSITIES)
        return {
            "operation": (operations,),
            "slot": (operations, self.slots),
            "blueprint": (self.slots, self.blueprints),
            "intensity": (self.blueprints, intensities),
            "gates": (self.slots,),
            "value": (1,),
            "safety": (3,),
            "hardware": (2,),
        }

    def slices(self) -> dict[str, slice]:
        """Where each head lies in the vector."""
        result: dict[str, slice] = {}
        start = 0
        for name, shape in self.shapes().items():
            result[name] = slice(start, start + math.prod(shape))
            start += math.prod(shape)
        return result

    @property
    def size(self) -> int:
        """Length of the output vector."""
        return sum(math.prod(shape) for shape in self.shapes().values())
