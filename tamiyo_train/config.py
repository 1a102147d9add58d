"""Every number of growing and teaching, with the presets the command line offers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tamiyo_runtime.contracts.document import dump, require
from tamiyo_train.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the governor panics, and when blending waits.

    A loss panics at once when it is not finite; when it lies ``sigmas`` standard deviations (at least ``sigma_floor``
    nats) above the mean of the last ``window`` steps for ``patience`` steps on end; drift (95th percentile of 1 -
    cosine) at ``drift_critical``; a norm changed by a factor of 2 to the power ``norm_critical``. While drift exceeds
    ``drift_hold`` or abs(log2 norm ratio) exceeds ``norm_hold`` the blending factor does not rise. Consolidation that
    costs more than ``regression`` of the accuracy on the gate split (fraction) is taken back.
    """

    window: int = 20
    warm: int = 10
    sigmas: float = 6.0
    sigma_floor: float = 0.1
    patience: int = 3
    drift_hold: float = 0.9
    drift_critical: float = 1.3
    norm_hold: float = 2.0
    norm_critical: float = 3.0
    regression: float = 0.02

    def __post_init__(self) -> None:
        require(0 < self.warm <= self.window, "warm", f"must be in 1..{self.window}")
        require(0 < self.drift_hold <= self.drift_critical, "drift_hold", "must be above 0, at most drift_critical")
        require(0 < self.norm_hold <= self.norm_critical, "norm_hold", "must be above 0, at most norm_critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an episode's utility pays for, in accuracy (fraction). See `pricing.utility`."""

    params: float = 0.01
    energy: float = 0.05
    latency: float = 0.05
    safety_event: float = 0.02
    training_macs: float = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One growth episode: ``steps`` of training with ``decisions`` decisions evenly spaced, then consolidation.

    ``blend_windows``: windows over which a seed of intensity 1 is blended in. ``min_age``: windows a seed trains
    before it may be advanced. ``gradient_ratio``: least gradient norm of a seed over the host's (both as applied)
    before it may be advanced. ``blending``: "ramp", one factor on a cosine; or "gate", a factor a channel that is
    learned with the task for ``gate_windows`` at ``gate_rate`` times the seed's learning rate. ``evaluations``:
    paired evaluations a seed on probation needs before it may be fossilised. ``utilisation``: a fossilised seed is
    retired after consolidation when its relative leave-one-out loss increase is below this times its share of the
    parameters; None retires none. ``nested_slots``: how many slots inside seeds can be open at a time.
    ``attack``: by how much half of every batch is moved along the sign of the loss's gradient (FGSM; inputs in 0..1).
    ``apart``: newborns learn each in a held pass of its own, as the gate before blending judges them; else in one pass
    together, which costs less, and may teach them what they can only do together. ``drift_target``: interface drift (1
    - cosine) of a sample above which every seed costs, ``drift_weight`` nats at twice the target; None lets seeds turn
    freely, see `turning`. ``space_target`` and ``space_weight``: the same of a batch's cross-modal drift, see
    `alignment`, on hosts of two modalities. ``auxiliary_weight``: of a seed's own loss beside the task's.
    ``consolidation_rate``: learning rate at the start of consolidation over the peak; growth ends there too, and
    consolidation falls to 0. ``held_share``: part of consolidation, at its end, with the batch norms' statistics held.
    ``gate_dropout`` and ``consolidation_dropout``: share of the steps that run a random subset of the fully blended
    seeds. ``gradient_limit``: largest L2 norm of the gradient of host or seed. ``weight_decay``: share of every weight
    that a step takes away, over the learning rate (AdamW, Loshchilov and Hutter 2019).
    """

    steps: int = 160
    decisions: int = 16
    consolidation_steps: int = 48
    consolidation_rate: float = 0.8
    held_share: float = 0.8
    gate_dropout: float = 0.3
    consolidation_dropout: float = 0.4
    gradient_limit: float = 0.5
    batch: int = 96
    learning_rate: float = 2e-2
    weight_decay: float = 0.0
    warmup_share: float = 0.1
    min_age: int = 1
    gradient_ratio: float = 0.02
    blending: str = "ramp"
    blend_windows: float = 1.0
    gate_windows: float = 3.0
    gate_rate: float = 10.0
    evaluations: int = 1
    utilisation: float | None = 0.01
    nested_slots: int = 0
    attack: float = 0.0
    apart: bool = False
    drift_target: float | None = None
    drift_weight: float = 1.0
    space_target: float | None = None
    space_weight: float = 0.3
    auxiliary_weight: float = 0.1
    embargo_windows: int = 2
    confidence: float = 1.645  # one-sided 95 %
    limits: Limits = field(default_factory=Limits)
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        require(self.decisions > 0, "decisions", "must be above 0")
        require(
            self.steps > 0 and self.steps % self.decisions == 0,
            "steps",
            f"must be a multiple of the {self.decisions} decisions, got {self.steps}",
        )
        require(self.consolidation_steps >= 0, "consolidation_steps", "must not be negative")
        for name in ("gate_dropout", "consolidation_dropout"):
            require(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]")
        require(self.batch > 1, "batch", "batch norm needs at least 2 samples")
        require(self.blending in {"ramp", "gate"}, "blending", f"must be 'ramp' or 'gate', got '{self.blending}'")
        require(self.weight_decay >= 0, "weight_decay", f"must not be negative, got {self.weight_decay}")
        require(self.evaluations > 0, "evaluations", "a seed must be evaluated at least once")
        require(self.nested_slots >= 0, "nested_slots", "must not be negative")
        require(0 <= self.attack < 1, "attack", f"must be in [0, 1), got {self.attack}")
        target = self.drift_target
        require(target is None or 0 < target <= 2, "drift_target", f"must be above 0, at most 2, got {target}")
        require(self.drift_weight > 0, "drift_weight", f"must be above 0, got {self.drift_weight}")
        target = self.space_target
        require(target is None or 0 < target <= 2, "space_target", f"must be above 0, at most 2, got {target}")
        require(self.space_weight > 0, "space_weight", f"must be above 0, got {self.space_weight}")

    @property
    def window(self) -> int:
        """Training steps between two decisions."""
        return self.steps // self.decisions

    @property
    def hold_from(self) -> int:
        """First step at which batch norms keep their statistics."""
        return self.steps + round((1 - self.held_share) * self.consolidation_steps)

    @property
    def total_steps(self) -> int:
        """All training steps of an episode."""
        return self.steps + self.consolidation_steps


FINAL = Episode(steps=448, decisions=16, consolidation_steps=288, batch=160)
"""The final growth: longer than the episodes the policy learned from, with as many decisions."""
COLLECT = Episode(gate_dropout=0.0, consolidation_dropout=0.0)
"""Episodes to learn from: no seed is ever left out, so that what an episode is worth is what growing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """How the policy is cloned. ``temperature``: scale of the advantage (standard deviations) in exp(advantage / t)."""

    steps: int = 900
    batch: int = 128
    learning_rate: float = 6e-3
    weight_decay: float = 1e-4
    temperature: float = 0.3
    weight_limit: float = 8.0
    running_samples: int = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole training run. ``schedule``: decisions of the final growth, when ``growth`` is "schedule".

    ``depth``: hidden layers of a host that has some to choose, each with a slot behind it; None: the host's own.
    ``taught``: names of the blueprints to choose from, no-op the first; empty for those offered on the host's domain.
    ``data``: the user's own files, in the format that ``task`` then names. ``checkpointing``: the host recomputes its
    activations instead of keeping them for the backward pass.
    """

    task: str = "digits"
    host: str = "dsconv"
    width: int = 4
    depth: int | None = None
    seed: int = 0
    growth: str = "policy"
    profile: str | None = "raspberry-pi-4"
    episodes: int = 14
    evaluation_episodes: int = 2
    collect: Episode = COLLECT
    final: Episode = FINAL
    teaching: Teaching = field(default_factory=Teaching)
    schedule: Schedule = ()
    taught: tuple[str, ...] = ()
    checkpointing: bool = False
    data: str | None = None

    def __post_init__(self) -> None:
        require(self.episodes >= 0, "episodes", "must not be negative")
        require(self.width > 0, "width", "must be above 0")
        require(self.depth is None or self.depth > 0, "depth", "must be above 0")
        require(self.taught[:1] in {(), ("no-op",)}, "taught", "must begin with no-op")


def smoke(config: TrainConfig) -> TrainConfig:
    """The same path on very little work: every part runs, nothing is learned well."""
    return replace(
        config,
        episodes=2,
        evaluation_episodes=0,
        collect=Episode(steps=16, decisions=8, consolidation_steps=4, batch=32),
        final=Episode(steps=64, decisions=8, consolidation_steps=8, batch=64),
        teaching=Teaching(steps=30, batch=32, running_samples=256),
    )


def adapted(
    config: TrainConfig,
    *,
    seed: int | None = None,
    host: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    episodes: int | None = None,
    steps: int | None = None,
    profile: str | None = None,
    nested: int | None = None,
    attack: float | None = None,
    drift_target: float | None = None,
    space_target: float | None = None,
    checkpointing: bool | None = None,
    data: str | None = None,
) -> TrainConfig:
    """The configuration with what a command line gave; None leaves a value as it is, profile 'none' takes it away.

    ``steps`` are those of the final growth, rounded up to whole decision windows; consolidation keeps its share.
    ``nested``: its ``nested_slots``; ``attack``, ``drift_target`` and
    ``space_target``: those of all episodes.
    """
    given = {"seed": seed, "host": host, "width": width, "depth": depth, "episodes": episodes, "data": data}
    given["checkpointing"] = checkpointing
    config = replace(config, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # by name
    if profile is not None:
        config = replace(config, profile=None if profile == "none" else profile)
    if nested is not None:
        config = replace(config, final=replace(config.final, nested_slots=nested))
    for name, value in (("attack", attack), ("drift_target", drift_target), ("space_target", space_target)):
        if value is not None:
            collect, final = (replace(episode, **{name: value}) for episode in (config.collect, config.final))  # type: ignore[arg-type]  # by name
            config = replace(config, collect=collect, final=final)
    if steps is not None:
        final = config.final
        windows = -(-steps // final.decisions)
        share = final.consolidation_steps / final.steps
        grown = windows * final.decisions
        config = replace(config, final=replace(final, steps=grown, consolidation_steps=round(share * grown)))
    return config


def plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON-ready data."""
    body = {key: value for key, value in asdict(config).items() if value is not None}
    body["schedule"] = [dump(decision) for decision in config.schedule]
    body["taught"] = list(config.taught)
    return {key: value for key, value in body.items() if value != []}
