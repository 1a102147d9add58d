"""What the run-time gates are taught: each is cloned from the plan, on simulated devices with their slots in any order.

Every teaching of a policy adds this loss to its own: `imitation`, `dagger` and `ppo`. Slots are shuffled, so that the
policy reads costs, not places.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.oracle import RunningSamples

_DEPTH = SLOT_FEATURES.index("depth")


class GateLesson:
    """Simulated devices as tensors. ``observation``: (N, observation) float32."""

    def __init__(self, running: RunningSamples, *, device: torch.device | None = None) -> None:
        self.observation = torch.from_numpy(running.observation).to(device)
        self._gates = torch.from_numpy(running.gates).float().to(device)
        self._present = torch.from_numpy(running.present).float().to(device)

    def loss(self, network: PolicyNetwork, count: int, rng: torch.Generator) -> torch.Tensor:
        """Mean cross-entropy of the present seeds' gates on ``count`` devices, nats; ``rng`` on the lesson's device."""
        slots, device = network.heads.slots, self.observation.device
        rows = torch.randint(len(self.observation), (count,), generator=rng, device=device)
        order = torch.rand(count, slots, generator=rng, device=device).argsort(1)
        logits = network(shuffled(self.observation[rows], order, slots))[:, network.heads.slices()["gates"]]
        known, wanted = self._present[rows].gather(1, order), self._gates[rows].gather(1, order)
        errors = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return (errors * known).sum() / known.sum().clamp_min(1.0)


def shuffled(observation: torch.Tensor, order: torch.Tensor, slots: int) -> torch.Tensor:
    """Observations with their slots in another order, (B, slots) indices; each place keeps its depth."""
    shared, each = observation[:, : len(GLOBAL_FEATURES)], observation[:, len(GLOBAL_FEATURES) :]
    each = each.reshape(-1, slots, len(SLOT_FEATURES))
    moved = each.gather(1, order[:, :, None].expand(-1, -1, len(SLOT_FEATURES))).clone()
    moved[:, :, _DEPTH] = each[:, :, _DEPTH]
    return torch.cat([shared, moved.flatten(1)], dim=1)
