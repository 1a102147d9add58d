"""Teaches the policy: cloning of what went well, regression of what happened, and the plan's gates.

Growth: every decision of every episode is cloned with weight exp(advantage / temperature), the advantage being the
episode's utility less the mean over episodes on the same host, in standard deviations (advantage-weighted regression,
Peng et al. 2019). The likelihood is that of `distribution`, masks applied. Value, safety and hardware heads
are regressed on what came out. Running: each gate is cloned from the plan (`gate_lesson`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tamiyo_runtime.contracts.observation import Heads
from tamiyo_train.config import Teaching
from tamiyo_train.policy.actions import Action, Observation, choose
from tamiyo_train.policy.distribution import ActionDistribution
from tamiyo_train.policy.experience import Experience
from tamiyo_train.policy.gate_lesson import GateLesson
from tamiyo_train.policy.network import HeadViews, PolicyNetwork
from tamiyo_train.policy.oracle import Agreement, agreement, simulate
from tamiyo_train.seeding import derive, generator, initialising

HELD_OUT = 2_000
"""Devices the gate head is judged on."""
_ROWS = 5
"""Devices in a batch for each decision of growth in it: a plan has finer edges than a cloned habit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """How teaching went: mean losses over the last tenth of the steps, and the gate head against the plan."""

    decisions: int
    action_loss: float | None
    value_loss: float | None
    gate_loss: float
    agreement: Agreement
    parameters: int

    def to_json(self) -> dict[str, object]:
        """Plain data for the run's record."""
        return asdict(self)


class Learned:
    """A decider that asks the policy network and takes the most likely legal action."""

    name = "policy"

    def __init__(self, network: PolicyNetwork) -> None:
        self._network = network.eval()

    def decide(self, observation: Observation) -> Action:
        """The most likely action, factor by factor."""
        with torch.no_grad():
            output = self._network(torch.from_numpy(observation.vector)[None])[0].numpy()
        return choose(output, observation.masks, self._network.heads)


def teach(
    experience: Experience | None,
    *,
    heads: Heads,
    config: Teaching,
    seed: int,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[PolicyNetwork, Lesson]:
    """Make and teach a policy; without experience only its run-time gates are taught."""
    running = GateLesson(simulate(config.running_samples, heads.slots, seed=derive(seed, "running") % 2**32))
    with initialising(derive(seed, "policy")):
        network = PolicyNetwork(heads)
    observations = running.observation
    if experience is not None:
        grown = torch.from_numpy(experience.observation)
        repeats = max(1, len(observations) // len(grown))  # both phases count alike in the statistics
        network.freeze_statistics(torch.cat([observations, grown.repeat(repeats, 1)]))
    else:
        network.freeze_statistics(observations)
    losses = _fit(network, experience, running, config, rng=generator(seed, "teaching"), on_step=on_step)
    network.eval()
    held_out = simulate(min(HELD_OUT, config.running_samples), heads.slots, seed=derive(seed, "held-out") % 2**32)
    tail = max(1, config.steps // 10)

    def recent(name: str) -> float | None:
        values = [step[name] for step in losses[-tail:] if name in step]
        return float(np.mean(values)) if values else None

    lesson = Lesson(
        decisions=0 if experience is None else len(experience),
        action_loss=recent("action"),
        value_loss=recent("value"),
        gate_loss=recent("gates") or 0.0,
        agreement=agreement(held_out, proposed_gates(network, held_out.observation)),
        parameters=sum(p.numel() for p in network.parameters()),
    )
    return network, lesson


def proposed_gates(network: PolicyNetwork, observation: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Gates with a logit above 0, (N, slots)."""
    with torch.no_grad():
        output = network(torch.from_numpy(observation))
    return np.asarray((output[:, network.heads.slices()["gates"]] > 0).numpy())


def advantages(utility: NDArray[np.float32], group: NDArray[np.int64], config: Teaching) -> NDArray[np.float32]:
    """Weights of decisions: exp(standardised advantage / temperature), at most ``weight_limit``, with mean 1.

    The advantage is the utility less the mean of its group: a lucky host is no merit of who grew it.
    """
    advantage = utility.astype(np.float64)
    for member in np.unique(group):
        advantage[group == member] -= advantage[group == member].mean()
    deviation = float(advantage.std())
    standard = advantage / deviation if deviation > 1e-8 else np.zeros_like(advantage)
    weights = np.minimum(np.exp(standard / config.temperature), config.weight_limit)
    return np.asarray(weights / weights.mean(), dtype=np.float32)


class _Batches:
    """Experience as tensors, and the loss of a batch of it."""

    def __init__(self, experience: Experience, heads: Heads, config: Teaching) -> None:
        self.views = HeadViews(heads)
        self.observation = torch.from_numpy(experience.observation)
        self.slot_mask = torch.from_numpy(experience.slot_mask)
        self.blueprint_mask = torch.from_numpy(experience.blueprint_mask)
        self.action = torch.from_numpy(experience.action)
        self.utility = torch.from_numpy(experience.utility)
        self.safety = torch.from_numpy(experience.safety)
        self.hardware = torch.from_numpy(experience.hardware)
        self.weight = torch.from_numpy(advantages(experience.utility, experience.group, config))

    def losses(self, network: PolicyNetwork, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weighted negative log-likelihood and the regressions, for some rows."""
        out = self.views(network(self.observation[rows]))
        chosen = ActionDistribution(out, self.slot_mask[rows], self.blueprint_mask[rows], floor=0.0)
        nll = -chosen.log_probability(self.action[rows])
        return {
            "action": (self.weight[rows] * nll).mean(),
            "value": F.mse_loss(out["value"][:, 0], self.utility[rows]),
            "safety": F.binary_cross_entropy_with_logits(out["safety"], self.safety[rows]),
            "hardware": F.binary_cross_entropy_with_logits(out["hardware"], self.hardware[rows]),
        }


def _fit(
    network: PolicyNetwork,
    experience: Experience | None,
    running: GateLesson,
    config: Teaching,
    *,
    rng: torch.Generator,
    on_step: Callable[[int, int], None] | None,
) -> list[dict[str, float]]:
    grown = _Batches(experience, network.heads, config) if experience is not None else None
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    network.train()
    history: list[dict[str, float]] = []
    for step in range(config.steps):
        losses = {"gates": running.loss(network, _ROWS * config.batch, rng)}
        if grown is not None:
            picked = torch.randint(len(grown.action), (config.batch,), generator=rng)
            losses |= grown.losses(network, picked)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
        optimiser.step()
        schedule.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
        if on_step is not None:
            on_step(step + 1, config.steps)
    return history
