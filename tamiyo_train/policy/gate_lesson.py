"""What the run-time gates are taught: each is cloned from the plan, and together they are to lose little against it.

Every teaching of a policy adds this loss to its own: `imitation`, `dagger` and `ppo`. Devices are simulated, with their
slots in any order, so that the policy reads costs, not places.

Cross-entropy alone does not know what an error costs, nor that gates belong together: where one of two seeds pays and
it is not clear which, each is likelier off than on, and both are dropped. So the expected regret is added, exactly:
gates are independent coins, and the plan says what is lost by each pattern of them.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.oracle import RunningSamples

NATS = 30.0
"""Nats of cross-entropy that a regret of 1, all samples lost, weighs as much as."""
_DEPTH = SLOT_FEATURES.index("depth")


class GateLesson:
    """Simulated devices as tensors. ``observation``: (N, observation) float32."""

    def __init__(self, running: RunningSamples, *, device: torch.device | None = None) -> None:
        self.observation = torch.from_numpy(running.observation).to(device)
        self._gates = torch.from_numpy(running.gates).float().to(device)
        self._present = torch.from_numpy(running.present).float().to(device)
        self._regret = torch.from_numpy(running.regret).float().to(device)
        slots = running.present.shape[1]
        self._patterns = torch.tensor(list(product((0.0, 1.0), repeat=slots)), device=device)

    def loss(self, network: PolicyNetwork, count: int, rng: torch.Generator) -> torch.Tensor:
        """Cross-entropy of the present seeds' gates, nats, with the regret; ``rng`` is on the lesson's device."""
        slots, device = network.heads.slots, self.observation.device
        rows = torch.randint(len(self.observation), (count,), generator=rng, device=device)
        order = torch.rand(count, slots, generator=rng, device=device).argsort(1)
        logits = network(shuffled(self.observation[rows], order, slots))[:, network.heads.slices()["gates"]]
        known, wanted = self._present[rows].gather(1, order), self._gates[rows].gather(1, order)
        errors = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        cloned = (errors * known).sum() / known.sum().clamp_min(1.0)
        number = (self._patterns[None] * (2.0 ** (slots - 1 - order))[:, None]).sum(2).long()
        return cloned + NATS * expected_regret(logits, self._patterns, self._regret[rows].gather(1, number)).mean()


def expected_regret(logits: torch.Tensor, patterns: torch.Tensor, regret: torch.Tensor) -> torch.Tensor:
    """Of gates that are on with the probabilities of their logits (B, slots), each for itself: (B,).

    ``patterns``: (P, slots) of 0 and 1; ``regret``: (B, P), by each of them.
    """
    on, off = F.logsigmoid(logits)[:, None], F.logsigmoid(-logits)[:, None]
    chance = (patterns * on + (1 - patterns) * off).sum(2).exp()
    return (chance * regret).sum(1)


def shuffled(observation: torch.Tensor, order: torch.Tensor, slots: int) -> torch.Tensor:
    """Observations with their slots in another order, (B, slots) indices; each place keeps its depth."""
    shared, each = observation[:, : len(GLOBAL_FEATURES)], observation[:, len(GLOBAL_FEATURES) :]
    each = each.reshape(-1, slots, len(SLOT_FEATURES))
    moved = each.gather(1, order[:, :, None].expand(-1, -1, len(SLOT_FEATURES))).clone()
    moved[:, :, _DEPTH] = each[:, :, _DEPTH]
    return torch.cat([shared, moved.flatten(1)], dim=1)
