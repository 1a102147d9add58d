"""Plays episodes of all lanes with one decider and keeps what can be learned from them, as tensors on their device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from tamiyo_train.policy.experience import DRIFT_RISK
from tamiyo_train.policy.lane_deciders import LaneDecider
from tamiyo_train.population.cost_table import LIMITS, drawn_budgets
from tamiyo_train.population.growth import TensorGrowth
from tamiyo_train.population.growth_state import Lanes, Result
from tamiyo_train.population.observing import observed
from tamiyo_train.population.reward import SHAPING, rewards, utilities

Tensor = torch.Tensor
_LATENCY, _MEMORY = LIMITS.index("latency_ms"), LIMITS.index("memory_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """D decisions. ``actions`` (D, 4); ``returns``: what was still to be earned, (D,); ``utility`` of their episodes.

    ``safety`` (D, 3) and ``hardware`` (D, 2): what came in the window after each, as in `experience.Experience`;
    ``weight`` (D,): how much each counts for whoever learns what was done, 1 unless a teacher says otherwise.
    """

    vector: Tensor
    slot_mask: Tensor
    blueprint_mask: Tensor
    actions: Tensor
    returns: Tensor
    utility: Tensor
    safety: Tensor
    hardware: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.actions)

    def rows(self, index: Tensor) -> Decisions:
        """Some of them."""
        return Decisions(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def joined(parts: Sequence[Decisions]) -> Decisions:
    """All decisions of all parts."""
    return Decisions(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Decisions)}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Episodes of N lanes with T decisions each: ``decisions`` T-major, ``rewards`` (T, N), ``utility`` (N,).

    ``imagined``: the same states as they would look under other limits on other devices, with what the teacher would do
    there; nobody went on from them, so that they have no returns.
    """

    decisions: Decisions
    rewards: Tensor
    utility: Tensor
    result: Result
    codes: Tensor
    imagined: Decisions | None = None

    @property
    def actions(self) -> Tensor:
        """(T, N, 4)."""
        return self.decisions.actions.reshape(len(self.rewards), -1, 4)


def drawn_lanes(
    env: TensorGrowth, rng: np.random.Generator, *, count: int, inits: range, task: Sequence[int] | None = None
) -> Lanes:
    """Lanes with tasks in turn, or those given, and everything else drawn: hosts, batches, profiles and budgets."""
    tasks = torch.tensor([number % len(env.tasks) for number in range(count)] if task is None else list(task))
    profile = torch.from_numpy(rng.integers(len(env.table.features), size=count))
    budget = drawn_budgets(env.table.host.cpu()[profile], rng)
    return Lanes(
        task=tasks,
        init=[int(value) for value in rng.integers(inits.start, inits.stop, size=count)],
        seed=[int(value) for value in rng.integers(2**31, size=count)],
        profile=profile,
        budget=budget,
    )


def repeated(lanes: Lanes, times: int) -> Lanes:
    """Every lane ``times`` times, one after the other."""
    return Lanes(
        task=lanes.task.repeat_interleave(times),
        init=[init for init in lanes.init for _ in range(times)],
        seed=[seed for seed in lanes.seed for _ in range(times)],
        profile=lanes.profile.repeat_interleave(times),
        budget=lanes.budget.repeat_interleave(times, 0),
    )


@torch.no_grad()
def roll(
    env: TensorGrowth,
    lanes: Lanes,
    decider: LaneDecider,
    *,
    shaping: float = SHAPING,
    teacher: LaneDecider | None = None,
    codes: Tensor | None = None,
    imagined: Sequence[Lanes] = (),
) -> Rollout:
    """Play to the end. ``teacher``: what it would have done is kept, not what was done; ``codes``: see `commit`.

    ``imagined``: lanes whose profiles and budgets a teacher without a memory is asked about as well, in every state.
    """
    seen = env.reset(lanes)
    if codes is not None:
        env.commit(codes)
        seen = env.seen
    kept: list[dict[str, Tensor]] = []
    sureness: list[Tensor] = []
    others: list[dict[str, Tensor]] = []
    while not env.done:
        actions = decider.decide(seen)
        label = actions if teacher is None else teacher.decide(seen)
        stakes = getattr(teacher or decider, "stakes", None)
        weight = torch.ones_like(seen.vector[:, 0]) if stakes is None else stakes
        row = {"vector": seen.vector, "slot_mask": seen.slot_mask, "blueprint_mask": seen.blueprint_mask}
        sureness.append(env.sensed.sureness)
        if teacher is not None:
            others += [_imagined(env, teacher, lanes) for lanes in imagined]
        events, culled = env.events.clone(), env.culled.clone()
        seen = env.act(actions)
        risky = torch.where(env.slots.code > 0, env.sensed.drift_p95, 0.0).amax(1) > DRIFT_RISK
        within = env.cost <= env.budget
        safety = torch.stack([risky, env.events > events, env.culled > culled], 1).float()
        hardware = within[:, [_LATENCY, _MEMORY]].float()
        kept.append({**row, "actions": label, "safety": safety, "hardware": hardware, "weight": weight})
    result = env.finish()
    result = replace(result, events=result.events.clone(), training_macs=result.training_macs.clone())
    utility = utilities(result, env.budget, env.config.prices)
    paid = rewards(utility, torch.stack(sureness), shaping=shaping)
    returns = paid.flip(0).cumsum(0).flip(0)
    return Rollout(
        decisions=Decisions(
            **{name: torch.cat([row[name] for row in kept]) for name in kept[0]},
            returns=returns.flatten().float(),
            utility=utility.repeat(len(kept)).float(),
        ),
        rewards=paid,
        utility=utility,
        result=result,
        codes=torch.where(result.fossilised, env.slots.code, 0),
        imagined=_untold(others),
    )


def _imagined(env: TensorGrowth, teacher: LaneDecider, lanes: Lanes) -> dict[str, Tensor]:
    """What the teacher would do now under the limits and on the devices of other lanes; changes nothing."""
    before = env.profile, env.budget
    env.profile, env.budget = lanes.profile.to(env.device), lanes.budget.to(env.device)
    seen = observed(env)
    actions = teacher.decide(seen)
    stakes = getattr(teacher, "stakes", torch.ones_like(seen.vector[:, 0]))
    possible = (env.cost <= env.budget).all(1)  # what is there already may be beyond these limits
    env.profile, env.budget = before
    return {
        "vector": seen.vector,
        "slot_mask": seen.slot_mask,
        "blueprint_mask": seen.blueprint_mask,
        "actions": actions,
        "weight": torch.where(possible, stakes, 0.0),
    }


def _untold(rows: Sequence[Mapping[str, Tensor]]) -> Decisions | None:
    """Decisions nobody went on from: returns and what came of them are nought."""
    if not rows:
        return None
    found = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    nothing = torch.zeros_like(found["weight"])
    none = torch.zeros(len(nothing), 3, device=nothing.device)
    return Decisions(**found, returns=nothing, utility=nothing, safety=none, hardware=none[:, :2])


def side_by_side(jobs: Mapping[str, Callable[[], Rollout]], *, warm: bool) -> dict[str, Rollout]:
    """Results of jobs in different environments, by name; on a CUDA device all at once, each on a stream of its own.

    A network this small leaves most of a device idle. The first time, unless everything is ``warm``, they go one after
    the other: while a graph is captured nothing else may ask the device for anything.
    """
    if not warm or not torch.cuda.is_available():
        return {name: job() for name, job in jobs.items()}
    torch.cuda.synchronize()

    def on_a_stream(job: Callable[[], Rollout]) -> Rollout:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        with torch.cuda.stream(stream):
            result = job()
            stream.synchronize()
        return result

    with ThreadPoolExecutor(len(jobs)) as pool:
        found = dict(zip(jobs, pool.map(on_a_stream, jobs.values()), strict=True))
    torch.cuda.synchronize()
    return found
