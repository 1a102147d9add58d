"""Every field of the policy's observation: name, unit, range, definition, when it is known. The order is the layout.

A field that is not known is 0; ``running`` says which phase it is. A field is clipped to its range as it is written, so
that one wild measurement cannot drown the others; the policy then normalises with statistics frozen at training time.
``docs/telemetry.md`` is made from these tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tamiyo_runtime.contracts.document import require

RATIO_LIMIT = 8.0
"""Ratios of use to limit are cut off here: beyond it "far too much" says all there is to say."""
NEVER = ""
ALWAYS = "always"
_SEED = "where the slot holds a seed"
_DEADLINE = "1 without a deadline"
_WINDOW = "from the first window on"
_OR_NO_LIMIT = "1 without a limit or a known cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One field. ``low`` and ``high`` bound its value; ``growing`` and ``running``: when it is known, "" is never."""

    name: str
    unit: str
    low: float
    high: float
    definition: str
    growing: str = NEVER
    running: str = NEVER

    def __post_init__(self) -> None:
        require(self.low < self.high, self.name, f"its range is empty: {self.low} to {self.high}")
        require(bool(self.growing or self.running), self.name, "is never known")

    def clipped(self, value: float) -> float:
        """The value within the range; NaN stays NaN."""
        return min(max(value, self.low), self.high) if not math.isnan(value) else value


def _flag(name: str, definition: str, *, running: str = NEVER) -> Feature:
    return Feature(name=name, unit="0 or 1", low=0, high=1, definition=definition, growing=ALWAYS, running=running)


def _profile(name: str, unit: str, definition: str) -> Feature:
    known = "with a device profile"
    return Feature(name=name, unit=unit, low=-3, high=15, definition=definition, growing=known, running=known)


GLOBAL: tuple[Feature, ...] = (
    _flag("running", "1 on a device, 0 while growing", running=ALWAYS),
    Feature(
        name="loss_level",
        unit="nats",
        low=0,
        high=20,
        definition="mean training loss of the last decision window",
        growing=_WINDOW,
    ),
    Feature(
        name="loss_slope",
        unit="nats a window",
        low=-20,
        high=20,
        definition="loss level less that of the window before",
        growing="from the second window on",
    ),
    Feature(
        name="loss_curvature",
        unit="nats a window squared",
        low=-40,
        high=40,
        definition="slope less that of the window before",
        growing="from the third window on",
    ),
    Feature(
        name="generalisation_gap",
        unit="fraction",
        low=-1,
        high=1,
        definition="training accuracy of the last window less accuracy on the gate split",
        growing=_WINDOW,
    ),
    Feature(
        name="accuracy",
        unit="fraction",
        low=0,
        high=1,
        definition="growing: accuracy on the gate split; running: measured accuracy of the configuration in use",
        growing=ALWAYS,
        running="where it was measured",
    ),
    Feature(
        name="params_left",
        unit="share",
        low=1 - RATIO_LIMIT,
        high=1,
        definition="1 - parameters / budget; what is used is 1 - what is left, here and below",
        growing=ALWAYS,
    ),
    Feature(
        name="macs_left",
        unit="share",
        low=1 - RATIO_LIMIT,
        high=1,
        definition="1 - multiply-accumulates of one inference / budget",
        growing=ALWAYS,
    ),
    Feature(
        name="latency_left",
        unit="share",
        low=1 - RATIO_LIMIT,
        high=1,
        definition="1 - latency / deadline: growing of the whole network, running of the configuration in use",
        growing=_OR_NO_LIMIT,
        running=_DEADLINE,
    ),
    Feature(
        name="energy_left",
        unit="share",
        low=1 - RATIO_LIMIT,
        high=1,
        definition="growing: 1 - energy of one inference / budget; running: fill of energy bucket or battery",
        growing=_OR_NO_LIMIT,
        running="1 without a budget",
    ),
    Feature(
        name="steps_left",
        unit="share",
        low=0,
        high=1,
        definition="decisions left over decisions of the episode",
        growing=ALWAYS,
    ),
    Feature(
        name="throttle_log2",
        unit="log2 factor",
        low=-3,
        high=3,
        definition="log2 of the latency multiplier of the board at present; 0 at its rated speed",
        running=ALWAYS,
    ),
    Feature(
        name="full_latency_ratio",
        unit="ratio",
        low=0,
        high=RATIO_LIMIT,
        definition="latency of the largest configuration at present / deadline",
        running="0 without a deadline",
    ),
    Feature(
        name="host_latency_ratio",
        unit="ratio",
        low=0,
        high=RATIO_LIMIT,
        definition="latency of the bare host at present / deadline",
        running="0 without a deadline",
    ),
    Feature(
        name="full_power_ratio",
        unit="ratio",
        low=0,
        high=RATIO_LIMIT,
        definition="mean power of the largest configuration at the present sample rate and speed / power budget",
        running="0 without a power budget",
    ),
    Feature(
        name="host_power_ratio",
        unit="ratio",
        low=0,
        high=RATIO_LIMIT,
        definition="the same of the bare host",
        running="0 without a power budget",
    ),
    Feature(
        name="link_level",
        unit="share",
        low=0,
        high=1,
        definition="hourly airtime credit of the link that is left",
        running="1 on a link without a limit",
    ),
    _profile("profile_log10_macs_per_ms", "log10 MAC/ms", "rated speed of the device"),
    _profile("profile_log10_dispatch_us", "log10 us", "time a graph invocation takes at the least"),
    _profile("profile_log10_active_mw", "log10 mW", "power of the board while it computes"),
)
"""Fields of the network and the device."""

SLOT: tuple[Feature, ...] = (
    _flag("is_free", "DORMANT: a seed may be germinated here; running: the slot holds no seed", running=ALWAYS),
    _flag("is_training", "GERMINATED or TRAINING"),
    _flag("is_blending", "BLENDING"),
    _flag("is_probation", "SHADOWING or PROBATIONARY"),
    _flag("is_fossilised", "FOSSILISED", running=ALWAYS),
    _flag("is_embargoed", "CULLED or EMBARGOED"),
    Feature(
        name="alpha",
        unit="share",
        low=0,
        high=1,
        definition="blending factor; running: 1 when the seed is switched on",
        growing=_SEED,
        running=_SEED,
    ),
    Feature(
        name="age",
        unit="share of an episode",
        low=0,
        high=1,
        definition="training steps since birth / steps of the episode; only training makes older",
        growing=_SEED,
    ),
    Feature(
        name="log_gradient_ratio",
        unit="ln ratio",
        low=-20,
        high=20,
        definition="ln of the seed's gradient norm over the host's, as applied (clipped), in the last step with one",
        growing="where seed and host have had a gradient",
    ),
    Feature(
        name="drift",
        unit="1 - cosine",
        low=0,
        high=2,
        definition="mean over the probes of 1 - cosine of the slot's output with and without the seed",
        growing=_SEED,
    ),
    Feature(
        name="log_norm_ratio",
        unit="log2 ratio",
        low=-20,
        high=20,
        definition="log2 of the norm of the slot's output with / without the seed: the cosine is blind to scale",
        growing=_SEED,
    ),
    Feature(
        name="functional_drift",
        unit="bits",
        low=0,
        high=1,
        definition="mean Jensen-Shannon divergence of the class probabilities with and without the seed",
        growing=_SEED,
    ),
    Feature(
        name="activation_variance",
        unit="activation squared",
        low=0,
        high=1e4,
        definition="variance over the probes of each element of the slot's output, mean over elements",
        growing=_SEED,
    ),
    Feature(
        name="contribution",
        unit="fraction",
        low=-1,
        high=1,
        definition="counterfactual: accuracy with the seed less accuracy without it, on the same samples",
        growing=_SEED,
        running="where both were measured",
    ),
    Feature(
        name="utilisation",
        unit="ratio",
        low=-100,
        high=100,
        definition="leave-one-out: increase of the loss without the seed / loss with it",
        growing=_SEED,
    ),
    Feature(
        name="relative_params",
        unit="ratio",
        low=0,
        high=1000,
        definition="parameters of the seed / of the bare host",
        growing=_SEED,
        running=_SEED,
    ),
    Feature(
        name="relative_macs",
        unit="ratio",
        low=0,
        high=1000,
        definition="multiply-accumulates of the seed / of the bare host",
        growing=_SEED,
        running=_SEED,
    ),
    Feature(
        name="relative_latency",
        unit="ratio",
        low=-RATIO_LIMIT,
        high=RATIO_LIMIT,
        definition="latency of the seed at present / deadline",
        growing="with a seed, a profile and a deadline",
        running="where the slot holds a seed; 0 without a deadline",
    ),
    Feature(
        name="budget_left",
        unit="share",
        low=0,
        high=1,
        definition=(
            "of what all else leaves of the budget, the share still unspent with this slot's seed on: "
            "(limit - cost with) / (limit - cost without), the tightest limit; 0 when all else leaves nothing. "
            "Growing: parameters, MACs, latency, energy, memory; running: the deadline. A slot inside a seed shares "
            "the account of the outermost seed"
        ),
        growing=ALWAYS,
        running=_DEADLINE,
    ),
    Feature(
        name="drift_risk",
        unit="share",
        low=0,
        high=1,
        definition=(
            "how near the slot is to what the governor takes back: the larger of drift (95th percentile over the "
            "probes) / critical drift, and abs(log2 norm ratio) / the critical one"
        ),
        growing=_SEED,
    ),
    Feature(
        name="rollback_need",
        unit="confidence",
        low=0,
        high=1,
        definition=(
            "confidence that the network is worse off with the seed: erf(-z / sqrt 2) of z = mean / standard error of "
            "the paired gain in the right class's probability; 0 when z is not below 0, 1 when a figure is not finite"
        ),
        growing=_SEED,
    ),
    Feature(
        name="alert",
        unit="0 or 1",
        low=0,
        high=1,
        definition="a figure measured on the slot is not finite or beyond its range; drift is no alert",
        growing=_SEED,
    ),
    Feature(
        name="depth",
        unit="share",
        low=0,
        high=1,
        definition="position of the slot in the host, 0 the first, 1 the last; inside a seed, that of the seed",
        growing=ALWAYS,
        running=ALWAYS,
    ),
    Feature(
        name="nesting",
        unit="share",
        low=0,
        high=1,
        definition="seeds that the slot lies inside / 3; on a device a seed holds what grew inside it",
        growing=ALWAYS,
    ),
)
"""Fields of one slot."""
