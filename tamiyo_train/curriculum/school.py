"""What teaches a policy in a course: episodes of a stage, some of earlier ones, and all that was seen before.

A policy decides over as many slots and blueprints as its host has, so there is one for each such layout; stages of one
layout share it, and rehearsing means episodes of earlier stages of that layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tamiyo_runtime.contracts.observation import Heads
from tamiyo_train.config import TrainConfig
from tamiyo_train.curriculum.stage import Stage
from tamiyo_train.experiment import collection
from tamiyo_train.jobs import HOSTS, POLICY, heads_of, new_host, offered
from tamiyo_train.policy.shipped import ShippedPolicy, is_shipped_for, shipped_for
from tamiyo_train.seeding import derive


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a policy can decide over: the domain of its slots, how its heads lie, and the blueprints by number."""

    domain: str
    heads: Heads
    blueprints: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.domain}-{self.heads.slots}x{self.heads.blueprints}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """An episode to learn from."""

    stage: str
    config: TrainConfig
    method: str
    index: int


def layout_of(config: TrainConfig) -> Layout:
    """The layout of a configuration's host."""
    host = new_host(config, 0)
    names = tuple(blueprint.name for blueprint in offered(host, config.taught))
    return Layout(domain=str(host.domain), heads=heads_of(config), blueprints=names)


def opening(config: TrainConfig) -> ShippedPolicy | None:
    """The policy a course begins with: the one that comes with the package, where it was taught on these blueprints."""
    host = new_host(config, 0)
    names = tuple(blueprint.name for blueprint in offered(host, config.taught))
    return shipped_for(config.host, slots=host.slots, blueprints=names) if is_shipped_for(names) else None


def lessons(
    stage: Stage,
    earlier: Sequence[Stage],
    *,
    seed: int,
    share: float,
    has_policy: bool,
    is_smoke: bool,
) -> tuple[Lesson, ...]:
    """The episodes of one round at a stage: heuristics and chance, the policy itself once there is one, on the stage's
    tasks in turn; a ``share`` of them, rounded, but one at least, on ``earlier`` stages in turn.

    Warm-ups are small: one episode in four is theirs. Episodes come in groups of as many as there are hosts, so that
    each method meets every host.
    """
    config = stage.config(is_smoke=is_smoke)
    count = config.episodes
    rehearsed = max(1, round(share * count)) if earlier else 0
    methods = collection(count)
    made = []
    for index, heuristic in enumerate(methods):
        method = POLICY if has_policy and index // HOSTS % 2 else heuristic
        of = stage
        if index >= count - rehearsed:
            of = earlier[index % len(earlier)]
        chosen = of.config(is_smoke=is_smoke)
        if of is stage and stage.warm_ups and index % 4 == 3:
            warm_up = stage.warm_ups[index // 4 % len(stage.warm_ups)]
            chosen = replace(stage, task=warm_up).config(is_smoke=is_smoke)
        chosen = replace(chosen, seed=derive(seed, of.id, chosen.task) % 2**31)
        made.append(Lesson(stage=of.id, config=chosen, method=method, index=index))
    return tuple(made)
