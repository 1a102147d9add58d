"""All that training changes: named, hashed, copied, and put back bit by bit.

`tensors_of` and `facts_of` look at a trainer without copying anything; `digest` is the hash of both, so that two states
can be compared wherever they are; `Snapshot` holds a state in memory and restores it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from tamiyo_runtime.contracts.document import canonical_json
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train.lifecycle import State
from tamiyo_train.seed import Inner, Seed

if TYPE_CHECKING:
    from tamiyo_train.trainer import Trainer

GLOBAL = "torch"
"""Name of torch's own generator among the trainer's: nothing of ours draws from it, a blueprint of others might."""


def tensors_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Every tensor by name: ``trunk.*``, ``seed_K.*``, ``moments.GROUP.I.*`` and ``generator.*``; not copied.

    What grows inside a seed is part of that seed.
    """
    network = trainer.network
    found = {f"trunk.{name}": tensor for name, tensor in network.trunk.state_dict().items()}
    for slot, seed in enumerate(network.seeds[: network.host.slots]):
        if seed is not None:
            found |= {f"seed_{slot}.{name}": tensor for name, tensor in seed.module.state_dict().items()}
    for group in trainer.optimiser.param_groups:
        for index, param in enumerate(group["params"]):
            for key, value in trainer.optimiser.state.get(param, {}).items():
                found[f"moments.{group['name']}.{index}.{key}"] = value
    for name, made in trainer.generators.items():
        found[f"generator.{name}"] = made.get_state()
    found[f"generator.{GLOBAL}"] = torch.random.get_rng_state()
    return found


def facts_of(trainer: Trainer) -> dict[str, Any]:
    """What is not a tensor, JSON-ready: the step, every slot with its seed, the optimiser's groups."""
    network = trainer.network
    slots: list[dict[str, Any]] = []
    for life, seed in zip(network.lives, network.seeds, strict=True):
        slots.append({"state": life.state.value, "path": life.path})
        if seed is not None:
            slots[-1] |= {
                "blueprint": seed.blueprint.name,
                "rate": seed.rate,
                "born_step": seed.born_step,
                "alpha": seed.alpha,
                "blend_position": seed.blend_position,
                "evidence": [_sha256(part) for part in seed.evidence],
            }
    groups = [
        {key: value for key, value in group.items() if key != "params" and isinstance(value, bool | int | float | str)}
        for group in trainer.optimiser.param_groups
    ]
    return {"step": trainer.step_index, "slots": slots, "groups": groups}


def digest(trainer: Trainer) -> str:
    """SHA-256 of the state: equal if and only if every tensor and every fact is, bit by bit."""
    lines = [
        f"{name} {tensor.dtype} {list(tensor.shape)} {_sha256(tensor)}" for name, tensor in tensors_of(trainer).items()
    ]
    return hashlib.sha256(canonical_json({"tensors": sorted(lines), "facts": facts_of(trainer)})).hexdigest()


@dataclass(frozen=True, slots=True)
class _Slot:
    state: State
    path: str
    seed: Seed | None
    tensors: dict[str, torch.Tensor]


class Snapshot:
    """All that training changes, copied. One snapshot can be restored any number of times."""

    def __init__(self, trainer: Trainer) -> None:
        network = trainer.network
        self.step = trainer.step_index
        self.sha256 = digest(trainer)
        self._trunk = _copies(network.trunk.state_dict())
        self._inner: tuple[Inner | None, ...] = tuple(network.inner)
        self._slots = [
            _Slot(
                life.state,
                life.path,
                replace(seed) if seed is not None else None,
                _copies(seed.module.state_dict()) if seed is not None else {},
            )
            for life, seed in zip(network.lives, network.seeds, strict=True)
        ]
        self._optimiser = trainer.optimiser_state()
        self._generators = {name: made.get_state().clone() for name, made in trainer.generators.items()}
        self._global = torch.random.get_rng_state()

    @property
    def states(self) -> dict[str, State]:
        """State of every slot by its path."""
        return {slot.path: slot.state for slot in self._slots}

    def restore(self, trainer: Trainer) -> None:
        """Make the trainer what it was, bit by bit; slots get back the seeds they held, or none.

        Gradients are dropped: those of the step that failed say nothing. Raises IntegrityError when the result is not
        the state that was copied, which only damaged memory or a module with hidden state can bring about.
        """
        with trainer.network.lock:
            self._restore(trainer)
        if digest(trainer) != self.sha256:
            raise IntegrityError(
                f"the snapshot of step {self.step} was not restored bit by bit",
                hint="a seed keeps state outside its parameters and buffers, or memory is damaged",
            )

    def _restore(self, trainer: Trainer) -> None:
        network = trainer.network
        trainer.step_index = self.step
        network.trunk.load_state_dict(self._trunk)
        for slot in reversed(network.outermost_first()):
            network.plant(slot, None)
        network.inner[:] = self._inner
        for life, saved in zip(network.lives, self._slots, strict=True):
            life.rewind(saved.state, path=saved.path)
        for slot in network.outermost_first():
            seed = self._slots[slot].seed
            network.plant(slot, None if seed is None else replace(seed))
        for slot, saved in enumerate(self._slots):
            if saved.seed is not None:
                network.seed_at(slot).module.load_state_dict(saved.tensors)
        trainer.load_optimiser_state(self._optimiser)
        trainer.optimiser.zero_grad(set_to_none=True)
        for name, state in self._generators.items():
            trainer.generators[name].set_state(state)
        torch.random.set_rng_state(self._global)


def _copies(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()
