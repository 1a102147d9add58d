"""Blueprints that do not keep their promises: some show it at birth, some only when they train.

A seed that the probe refuses never reaches the network: nothing is restored since nothing has changed, but for its
slot, which is embargoed. A seed that hides its defect until it trains is taken back with its window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tamiyo_train.blueprints import Blueprint
from tamiyo_train.faults.kinds import Outcome, judged, kinds
from tamiyo_train.faults.scene import Scene
from tamiyo_train.lifecycle import State
from tamiyo_train.snapshot import Snapshot, digest, facts_of

Forward = Callable[["BrokenSeed", torch.Tensor], torch.Tensor]


class BrokenSeed(nn.Module):
    """The identity with one weight an entry of the first axis, until ``forward`` is somebody else's."""

    def __init__(self, entries: int, forward: Forward) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(entries))
        self.calls = 0
        self._forward = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Whatever the defect makes of it."""
        self.calls += 1
        return self._forward(self, x)

    def sound(self, x: torch.Tensor) -> torch.Tensor:
        """What a sound seed would do."""
        return x + self.scale.view(1, -1, *[1] * (x.dim() - 2)) * x


class _BadGradient(torch.autograd.Function):
    """The identity with a gradient of NaN."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.full_like(gradients[0], float("nan"))


def _raises(seed: BrokenSeed, x: torch.Tensor) -> torch.Tensor:
    raise ZeroDivisionError("a defect of the blueprint")


def _in_place(seed: BrokenSeed, x: torch.Tensor) -> torch.Tensor:
    return x.mul_(2.0)


def _bad_gradient(seed: BrokenSeed, x: torch.Tensor) -> torch.Tensor:
    bad: torch.Tensor = _BadGradient.apply(seed.sound(x))  # type: ignore[no-untyped-call]  # torch's lacks a type
    return bad


@dataclass(frozen=True, slots=True)
class _Defect:
    """What is wrong, and whether it hides until the seed trains."""

    name: str
    forward: Forward
    latent: bool = False


def _latent(defect: Forward) -> Forward:
    """Sound in evaluation, which is what the probe sees."""
    return lambda seed, x: defect(seed, x) if seed.training else seed.sound(x)


_AT_BIRTH: tuple[tuple[str, Forward], ...] = (
    ("raises", _raises),
    ("changes the shape", lambda seed, x: seed.sound(x)[:, :-1]),
    ("is not finite", lambda seed, x: seed.sound(x) / 0.0),
    ("is not the identity", lambda seed, x: seed.sound(x) + 0.5),
    ("changes its input", _in_place),
    ("has no finite gradient", _bad_gradient),
)
_DEFECTS: tuple[_Defect, ...] = (
    *(_Defect(name, forward) for name, forward in _AT_BIRTH),
    _Defect("raises in training", _latent(_raises), latent=True),
    _Defect("changes the shape in training", _latent(lambda seed, x: seed.sound(x)[:, :-1]), latent=True),
    _Defect("is not finite in training", _latent(lambda seed, x: seed.sound(x) / 0.0), latent=True),
    _Defect("has no finite gradient in training", _latent(_bad_gradient), latent=True),
    _Defect("changes its input in training", _latent(_in_place), latent=True),
)


@kinds.register("broken-blueprint")
def broken_blueprint(scene: Scene, rng: np.random.Generator) -> Outcome:
    """A seed is asked for whose blueprint raises, changes shape or input, is not finite, not the identity, or lies."""
    fit = scene.room()
    slot = fit[rng.integers(len(fit))]
    choice = int(rng.integers(len(_DEFECTS) + 2))
    if choice < len(_DEFECTS):
        defect = _DEFECTS[choice]
        name, latent = defect.name, defect.latent
        blueprint = _blueprint(scene, slot, lambda place: BrokenSeed(place.shape[0], defect.forward))
    elif choice == len(_DEFECTS):
        name, latent = "cannot be built", False
        blueprint = _blueprint(scene, slot, _unbuildable)
    else:
        name, latent = "is larger than declared", False
        blueprint = replace(_blueprint(scene, slot, lambda place: _Large(place.shape[0])), layers=lambda place: ())
    return _latent_trial(scene, blueprint, slot, name) if latent else _birth_trial(scene, blueprint, slot, name)


class _Large(BrokenSeed):
    """Sound, but with parameters nobody was told of."""

    def __init__(self, entries: int) -> None:
        super().__init__(entries, BrokenSeed.sound)
        self.hidden = nn.Parameter(torch.zeros(10_000))


def _unbuildable(place: Any) -> nn.Module:
    raise MemoryError("a defect of the blueprint")


def _blueprint(scene: Scene, slot: int, build: Callable[[Any], nn.Module]) -> Blueprint:
    """One that declares what the first that fits the slot costs, which is more than a broken seed does."""
    gardener = scene.gardener
    declared = next(i for i in range(1, len(gardener.blueprints)) if gardener.fits(slot, i))
    return Blueprint(
        name="broken",
        summary="does not keep its promises",
        domains=frozenset({scene.network.host.domain}),
        build=build,
        layers=gardener.blueprints[declared].layers,
        causal=True,
    )


def _germinate(scene: Scene, blueprint: Blueprint, slot: int) -> None:
    scene.gardener.blueprints = (*scene.gardener.blueprints, blueprint)
    scene.gardener.germinate(slot, len(scene.gardener.blueprints) - 1, 2)


def _birth_trial(scene: Scene, blueprint: Blueprint, slot: int, name: str) -> Outcome:
    """The probe has to refuse it; all but the state of its slot must be as before."""
    before, facts, accuracy = Snapshot(scene.trainer), facts_of(scene.trainer), scene.accuracy()
    _germinate(scene, blueprint, slot)
    told = str([e.data["reason"] for e in scene.audit.entries if e.data.get("event") == "cull"][-1])
    life = scene.network.lives[slot]
    refused = life.state is State.EMBARGOED and scene.network.seeds[slot] is None
    after = scene.accuracy()
    after_facts = facts_of(scene.trainer)
    alike = after_facts["slots"][slot] == {**facts["slots"][slot], "state": State.EMBARGOED.value}
    life.rewind(before.states[life.path])  # all else has to be what it was, to the bit
    whole = refused and alike and digest(scene.trainer) == before.sha256
    steps = 0 if refused else None
    return Outcome(fault=name, steps=steps, whole=whole, metric=after - accuracy, told=told)


def _latent_trial(scene: Scene, blueprint: Blueprint, slot: int, name: str) -> Outcome:
    """The probe cannot see it; the first step of training has to."""
    _germinate(scene, blueprint, slot)
    return judged(scene, name, after=0, strike=lambda: None)
