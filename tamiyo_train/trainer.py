"""Trains a grown network: one optimiser with a group for the host and one a seed, on a fixed schedule.

The learning rate warms up linearly and falls along a cosine, so what grows early has more of it: a fixed horizon makes
timing matter. Everything random comes from named generators.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
import torch.nn.functional as F

from tamiyo_train import charges
from tamiyo_train.alignment import Embeddings, compared, own, strayed
from tamiyo_train.blueprints import WithAuxiliaryLoss
from tamiyo_train.channel_gate import ChannelGate, settled
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.evaluation import without
from tamiyo_train.lifecycle import State
from tamiyo_train.seed import GrownNetwork, Seed, held_loss, norms_held
from tamiyo_train.seeding import generator
from tamiyo_train.turning import Passed, interfaces, penalty

P = ParamSpec("P")
R = TypeVar("R")
HOST = "host"
SEED_WARMUP_STEPS = 10
BLENDED = (State.SHADOWING, State.PROBATIONARY, State.FOSSILISED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One training step: mean loss (nats) and how many answers of the batch were right, before the update.

    ``whole``: no seed was left out, so that the loss can be compared with that of other such steps.
    """

    loss: float
    whole: bool
    seed_loss: float | None
    correct: int
    samples: int


def _locked(method: Callable[Concatenate[Trainer, P], R]) -> Callable[Concatenate[Trainer, P], R]:
    """The method, with the network's lock held: who reads the network sees it before or after, never in between."""

    @functools.wraps(method)
    def holding(self: Trainer, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.network.lock:
            return method(self, *args, **kwargs)

    return holding


class Trainer:
    """A network, its optimiser, its data and its generators.

    ``training_macs`` counts work done, rollbacks included, see `charges`; ``caution`` scales every learning rate. A
    snapshot restores neither: one is history, the other what was learned from it. ``on_step`` is told the steps done
    after each of them.
    """

    def __init__(
        self, network: GrownNetwork, data: Tensors, config: Episode, *, seed: int, planted: bool = False
    ) -> None:
        """``planted``: the network holds seeds already; each gets its group as if it had been planted here."""
        self.network = network
        self.data = data
        self.config = config
        self.step_index = 0
        self.training_macs = 0
        self._meter = charges.Meter(network, config)
        self.caution = 1.0
        self.on_step: Callable[[int], None] | None = None
        self.generators = {name: generator(seed, name) for name in ("batches", "gates")}
        groups = [{"params": list(network.trunk.parameters()), "name": HOST, "rate": 1.0, "born": -SEED_WARMUP_STEPS}]
        self.optimiser = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        if planted:
            for slot, occupant in enumerate(network.seeds):
                if occupant is not None:
                    self.plant(slot, occupant)

    @_locked
    def plant(self, slot: int, seed: Seed) -> None:
        """Put a seed into a slot and give it an optimiser group with fresh moments; what grows inside has its own."""
        self.network.plant(slot, seed)
        grown = [self.network.seeds[child] for child in self.network.inside(slot)]
        inside = {param for child in grown if child is not None for param in child.module.parameters()}
        params = [param for param in seed.module.parameters() if param not in inside]
        if params:
            self.optimiser.add_param_group(
                {"params": params, "name": _group(slot), "rate": seed.rate, "born": self.step_index}
            )

    @_locked
    def uproot(self, slot: int) -> None:
        """Take the seed of a slot out, with its moments."""
        self._forget(_group(slot), _gate(slot))
        self.network.plant(slot, None)

    @_locked
    def close_in(self, slot: int) -> None:
        """Put the seed of a slot behind a learned gate, almost closed, that has an optimiser group of its own."""
        network, seed, place = self.network, self.network.seed_at(slot), self.network.place(slot)
        assert place is not None, f"slot {slot} is not open"
        gate = ChannelGate(seed.module, place)
        seed.module, seed.alpha = gate, 1.0
        network.plant(slot, seed)
        rate = seed.rate * self.config.gate_rate
        self.optimiser.add_param_group(
            {"params": [gate.logit], "name": _gate(slot), "rate": rate, "born": self.step_index}
        )

    def hold_gate(self, slot: int, *, held: bool) -> None:
        """Let the learned gate of a slot stand still, or learn."""
        rate = 0.0 if held else self.network.seed_at(slot).rate * self.config.gate_rate
        for group in self.optimiser.param_groups:
            if group["name"] == _gate(slot):
                group["rate"] = rate

    @_locked
    def open_up(self, slot: int) -> bool:
        """Take the learned gate of a slot away, see `channel_gate.settled`; True when it was folded into the seed."""
        network, seed = self.network, self.network.seed_at(slot)
        assert isinstance(seed.module, ChannelGate), f"slot {slot} has no learned gate"
        with torch.no_grad():
            network.eval()
            probe = network.entering(self.data.gate.x[: self.config.batch], network.alphas(), slot)
        seed.module, folded = settled(seed.module, probe)
        self._forget(_gate(slot))
        network.plant(slot, seed)
        return folded

    def _forget(self, *names: str) -> None:
        for group in self.optimiser.param_groups:
            if group["name"] in names:
                for param in group["params"]:
                    self.optimiser.state.pop(param, None)
        self.optimiser.param_groups = [g for g in self.optimiser.param_groups if g["name"] not in names]

    def learning_rate(self) -> float:
        """The host's learning rate at the present step: growth's own schedule, then consolidation's."""
        config, step = self.config, self.step_index
        if step >= config.steps:
            progress = (step - config.steps) / max(1, config.consolidation_steps)
            return config.consolidation_rate * config.learning_rate * _cosine(progress, 0.0)
        warm = max(1, round(config.warmup_share * config.steps))
        if step < warm:
            return config.learning_rate * (step + 1) / warm
        floor = config.consolidation_rate if config.consolidation_steps else 0.0
        return config.learning_rate * _cosine((step - warm) / max(1, config.steps - warm), floor)

    def host_rate(self) -> float:
        """The learning rate of the host in the last step, caution and all."""
        return float(self.optimiser.param_groups[0]["lr"])

    @_locked
    def step(self, *, consolidate: bool = False) -> StepResult:
        """One update of host and seeds on one batch.

        Blended seeds learn with the host. Seeds in TRAINING learn in a second pass with the host held. Some steps run
        a random subset of the blended seeds, so that every configuration learns to work; when ``consolidate`` is
        set these are more, and towards the end batch norms keep their statistics: each configuration is then trained
        as it will be run. The network is locked meanwhile.
        """
        network = self.network
        self._set_rates()
        x, y = self.data.batch(self.config.batch, self.generators["batches"])
        self.optimiser.zero_grad(set_to_none=True)
        network.train()
        if self.config.attack:
            x = self._attacked(x, y)
        alphas = self._drawn_alphas(self.config.consolidation_dropout if consolidate else self.config.gate_dropout)
        with (
            self._interfaces() as passed,
            self._space() as embeddings,
            norms_held(network) if consolidate and self.step_index >= self.config.hold_from else nullcontext(),
        ):
            logits = network(x, alphas)
        loss = F.cross_entropy(logits, y)
        extra = [part for part in (self._own_losses(x, alphas), self._turning(passed)) if part is not None]
        self._hold_space(x, y, alphas, embeddings)
        torch.stack([loss, *extra]).sum().backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        seed_loss = None
        training = network.slots_in(State.TRAINING)
        if training:
            passes = [(slot,) for slot in training] if self.config.apart else [training]
            seed_loss = sum(float(self._held_loss(x, y, slots)) for slots in passes) / len(passes)
        for group in self.optimiser.param_groups:  # one by one: a newborn must not touch the host's step
            torch.nn.utils.clip_grad_norm_(group["params"], self.config.gradient_limit)
        self.optimiser.step()
        whole = tuple(alphas) == network.alphas()
        self.training_macs += self._meter.step(alphas, training)
        self.step_index += 1
        if self.on_step is not None:
            self.on_step(self.step_index)
        correct = int((logits.detach().argmax(1) == y).sum())
        return StepResult(
            loss=float(loss.detach()), whole=whole, seed_loss=seed_loss, correct=correct, samples=y.numel()
        )

    def _attacked(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The batch, its first half moved against the right answers (Goodfellow et al. 2015) and kept in 0..1."""
        half = len(y) // 2
        moved = x[:half].detach().clone().requires_grad_(True)
        with norms_held(self.network):
            loss = F.cross_entropy(self.network(moved), y[:half])
        (gradient,) = torch.autograd.grad(loss, moved)
        return torch.cat([(moved.detach() + self.config.attack * gradient.sign()).clamp(0, 1), x[half:]])

    def _own_losses(self, x: torch.Tensor, alphas: list[float]) -> torch.Tensor | None:
        """Weighted losses of the seeds that have one of their own, on what enters their slots: only they learn from it.

        None when no seed has one, which costs nothing.
        """
        network = self.network
        total: torch.Tensor | None = None
        for slot, occupant in enumerate(network.seeds):
            if occupant is None:
                continue
            module = occupant.module.inner if isinstance(occupant.module, ChannelGate) else occupant.module
            if isinstance(module, WithAuxiliaryLoss):
                with torch.no_grad(), norms_held(network):
                    entering = network.entering(x, alphas, slot)
                part = self.config.auxiliary_weight * module.auxiliary_loss(entering)
                total = part if total is None else total + part
        return total

    def _interfaces(self) -> AbstractContextManager[Passed]:
        return nullcontext([]) if self.config.drift_target is None else interfaces(self.network)

    def _turning(self, passed: Passed) -> torch.Tensor | None:
        """What the turns of the seeds that ran cost; None when nothing is asked of them."""
        config = self.config
        if config.drift_target is None or not passed:
            return None
        return penalty(passed, target=config.drift_target, weight=config.drift_weight)

    def _held_loss(self, x: torch.Tensor, y: torch.Tensor, slots: tuple[int, ...]) -> torch.Tensor:
        with self._interfaces() as passed:

            def criterion(logits: torch.Tensor) -> torch.Tensor:
                loss, turning = F.cross_entropy(logits, y), self._turning(passed)
                return loss if turning is None else loss + turning

            return held_loss(self.network, x, slots, criterion)

    def _space(self) -> AbstractContextManager[Embeddings]:
        return nullcontext([]) if self.config.space_target is None else compared(self.network)

    def _hold_space(self, x: torch.Tensor, y: torch.Tensor, alphas: Sequence[float], embeddings: Embeddings) -> None:
        """Give one of the seeds that ran, each in its turn, the gradient of how far it moves a space of two modalities.

        Only that seed learns from it: the host, and what the space is without the seed, are as the task wants them.
        """
        network, target, on = self.network, self.config.space_target, [n for n, alpha in enumerate(alphas) if alpha > 0]
        if target is None or not on:
            return
        slot = on[self.step_index % len(on)]
        with torch.no_grad(), norms_held(network), compared(network) as others:
            network(x, without(alphas, slot))
        loss = self.config.space_weight * strayed(own(others[0], y), own(embeddings[0], y), target=target)
        params = list(network.seed_at(slot).module.parameters())
        if params and loss.item() > 0:
            torch.autograd.backward(loss, inputs=params, retain_graph=True)

    def gradient_norms(self) -> dict[str, float]:
        """L2 norm of the last step's gradient by optimiser group; a group that had none is left out."""
        norms: dict[str, float] = {}
        for group in self.optimiser.param_groups:
            gradients = [param.grad for param in group["params"] if param.grad is not None]
            if gradients:
                norms[group["name"]] = float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())
        return norms

    def seed_gradient_norm(self, slot: int) -> float | None:
        """The last step's gradient norm of a slot's seed; None when it had none."""
        return self.gradient_norms().get(_group(slot))

    def optimiser_state(self) -> list[dict[str, Any]]:
        """A copy of the optimiser: groups in order with their options, parameters by identity, moments cloned."""
        return [
            {
                **{key: value for key, value in group.items() if key != "params"},
                "params": list(group["params"]),
                "moments": [
                    {key: value.clone() for key, value in self.optimiser.state.get(param, {}).items()}
                    for param in group["params"]
                ],
            }
            for group in self.optimiser.param_groups
        ]

    def load_optimiser_state(self, saved: list[dict[str, Any]]) -> None:
        """Make the optimiser what `optimiser_state` copied."""
        self.optimiser.state.clear()
        groups = []
        for group in saved:
            groups.append({key: value for key, value in group.items() if key != "moments"})
            groups[-1]["params"] = list(group["params"])
            for param, moments in zip(group["params"], group["moments"], strict=True):
                if moments:
                    self.optimiser.state[param] = {key: value.clone() for key, value in moments.items()}
        self.optimiser.param_groups = groups

    def _set_rates(self) -> None:
        rate = self.caution * self.learning_rate()
        for group in self.optimiser.param_groups:
            age = self.step_index - group["born"]
            group["lr"] = rate * group["rate"] * min(1.0, (age + 1) / SEED_WARMUP_STEPS)

    def _drawn_alphas(self, dropout: float) -> list[float]:
        """The seeds' alphas; with probability ``dropout`` each fully blended seed is left out with probability 1/2."""
        gates = self.generators["gates"]
        alphas = list(self.network.alphas())
        drop = float(torch.rand((), generator=gates)) < dropout
        coins = torch.rand(len(alphas), generator=gates).tolist()  # drawn either way: the stream does not fork
        if drop:
            for slot in self.network.slots_in(*BLENDED):
                alphas[slot] = alphas[slot] if coins[slot] < 0.5 else 0.0
        return alphas


def _cosine(progress: float, floor: float) -> float:
    """From 1 to ``floor`` as progress goes from 0 to 1."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _group(slot: int) -> str:
    return f"seed_{slot}"


def _gate(slot: int) -> str:
    return f"gate_{slot}"
