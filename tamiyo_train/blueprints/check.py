"""What every blueprint must hold, ours or a plug-in's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.blueprints.base import Blueprint
from tamiyo_train.footprint import Footprint
from tamiyo_train.seeding import generator, initialising
from tamiyo_train.slots import Domain, Slot, image, joint, sequence, vector

IDENTITY_TOLERANCE = 1e-5
PROBE_SEED = 7
MOVE = 0.2
"""Standard deviation of what `moved` adds to every parameter: far off the identity, and no layer saturates."""
DEPLOYED_SQNR_DB = 20.0
"""What deployment may round: least ratio of what a trained seed changes to what its deployed form misses of it."""
_PROBES = 4
_SAMPLES = 16

# Operators that write nothing on a device: they change how a tensor is seen, not what it holds.
_VIEWS = frozenset(
    {
        *("view", "_unsafe_view", "t", "detach", "alias", "expand", "permute", "transpose", "unsqueeze", "squeeze"),
        *("slice", "select", "split", "empty", "lift_fresh"),
    }
)


def legal_slots(domain: Domain) -> tuple[Slot, ...]:
    """Slots of a domain as hosts may have them, the smallest there can be among them."""
    return {
        Domain.VECTOR: (
            *(vector(features) for features in (1, 3, 8, 24)),
            vector(5, carried=(2,)),
            vector(8 + 40, carried=(1, 40)),
            vector(6 + 2 * 30, carried=(2, 6, 5)),
        ),
        Domain.SEQUENCE: (sequence(1, 1), sequence(1, 5), sequence(3, 2), sequence(4, 9), sequence(8, 20)),
        Domain.IMAGE: (image(1, 1, 1), image(3, 5, 7), image(4, 8, 8), image(8, 4, 4)),
        Domain.JOINT: (joint(1), joint(3, 2), joint(8), joint(8, 5)),
    }[domain]


def moved(module: nn.Module, *, seed: int) -> nn.Module:
    """The module itself with noise on every parameter, as if it had been trained: no longer the identity."""
    with torch.no_grad():
        for name, param in module.named_parameters():
            param.add_(torch.randn(param.shape, generator=generator(seed, "move", name)), alpha=MOVE)
    return module


def check_blueprint(blueprint: Blueprint, slot: Slot | None = None) -> None:
    """Build a seed for a slot and check it; without a slot, for every one of `legal_slots` that it fits.

    Raises IncompatibleError naming the first rule that is broken:

    - the output has the input's shape and is finite, and differs from the input by less than 1e-5 at birth;
    - the built and the deployed module have the closed form's parameters, the deployed one its multiply-accumulates
      and activation bytes;
    - a gradient reaches something at birth, and everything once the seed is off the identity; all are finite;
    - a checkpoint of a trained seed, loaded into a newborn one, answers bit for bit the same;
    - on a sequence, a causal one answers the same up to any step whatever comes after it;
    - the deployed module answers what the trained one does in evaluation, to 20 dB of what that changes, and the
      trained one is left as it was.
    """
    if slot is not None:
        blueprint.check_fits(slot)
        _check(blueprint, slot)
        return
    fitting = [place for domain in sorted(blueprint.domains) for place in legal_slots(domain)]
    fitting = [place for place in fitting if blueprint.misfit(place) is None]
    _hold(bool(fitting), blueprint, None, f"fits no slot of {', '.join(sorted(blueprint.domains)) or 'any domain'}")
    for place in fitting:
        _check(blueprint, place)


def _check(blueprint: Blueprint, slot: Slot) -> None:
    def hold(condition: bool, problem: str) -> None:
        _hold(condition, blueprint, slot, problem)

    module = _newborn(blueprint, slot, PROBE_SEED)
    _check_params(blueprint, slot, module, hold)
    _check_birth(module, slot, hold)
    _check_cost(blueprint, slot, module, hold)
    if any(True for _ in module.parameters()):
        _check_gradients(blueprint, slot, hold)
    _check_round_trip(blueprint, slot, hold)
    if blueprint.causal and slot.domain is Domain.SEQUENCE:
        _check_causal(blueprint, slot, hold)


def _check_birth(module: nn.Module, slot: Slot, hold: Callable[[bool, str], None]) -> None:
    for mode, samples in ((True, _SAMPLES), (False, _SAMPLES), (False, 1)):
        module.train(mode)
        x = _batch(slot, samples, "birth")
        with torch.no_grad():
            y = module(x)
        hold(y.shape == x.shape, f"turns {tuple(x.shape)} into {tuple(y.shape)}")
        hold(bool(torch.isfinite(y).all()), "gives values that are not finite")
        error = float((y - x).abs().max())
        hold(error < IDENTITY_TOLERANCE, f"is off the identity by {error:.2e} at birth")


def _check_params(blueprint: Blueprint, slot: Slot, module: nn.Module, hold: Callable[[bool, str], None]) -> None:
    expected = Footprint.of(blueprint.layers(slot)).params
    for what, made in (("as built", module), ("as deployed", blueprint.deploy(module))):
        params = sum(param.numel() for param in made.parameters())
        hold(params == expected, f"has {params} parameters {what}, its closed form says {expected}")


def _check_cost(blueprint: Blueprint, slot: Slot, module: nn.Module, hold: Callable[[bool, str], None]) -> None:
    expected = Footprint.of(blueprint.layers(slot))
    macs, written = measured(blueprint.deploy(module).eval(), slot)
    hold(macs == expected.macs, f"takes {macs} MACs, its closed form says {expected.macs}")
    hold(
        written == expected.activation_bytes,
        f"writes {written} bytes of activations, its closed form says {expected.activation_bytes}",
    )


def measured(module: nn.Module, slot: Slot) -> tuple[int, int]:
    """Multiply-accumulates, and bytes that its operators write, as torch counts them on one float32 sample."""
    x = _batch(slot, 1, "cost")
    with torch.no_grad(), FlopCounterMode(display=False) as flops, _Writes() as writes:
        module(x)
    return flops.get_total_flops() // 2, 4 * writes.elements


class _Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves the base untyped
    """Counts the elements that operators write, views aside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in _VIEWS and isinstance(out, torch.Tensor):
            self.elements += out.numel()
        return out


def _check_gradients(blueprint: Blueprint, slot: Slot, hold: Callable[[bool, str], None]) -> None:
    newborn = _newborn(blueprint, slot, PROBE_SEED)
    reached = {name for name, size in _gradient_sizes(newborn, slot, 0, hold).items() if size > 0}
    hold(bool(reached), "gets no gradient at birth, it could never learn")
    missing = {name for name, _ in newborn.named_parameters()}
    for probe in range(_PROBES):  # a narrow ReLU layer may happen to be silent in one of them
        module = moved(_newborn(blueprint, slot, PROBE_SEED + probe), seed=probe)
        missing -= {name for name, size in _gradient_sizes(module, slot, probe, hold).items() if size > 0}
    hold(not missing, f"has parameters that no gradient reaches off the identity: {', '.join(sorted(missing))}")


def _gradient_sizes(module: nn.Module, slot: Slot, probe: int, hold: Callable[[bool, str], None]) -> dict[str, float]:
    module.train()
    y = module(_batch(slot, _SAMPLES, "gradient", probe))
    if not y.requires_grad:
        return {}
    (y * _batch(slot, _SAMPLES, "direction", probe)).sum().backward()
    gradients = {name: param.grad for name, param in module.named_parameters() if param.grad is not None}
    hold(all(bool(torch.isfinite(g).all()) for g in gradients.values()), "gets gradients that are not finite")
    return {name: float(gradient.abs().sum()) for name, gradient in gradients.items()}


def _check_round_trip(blueprint: Blueprint, slot: Slot, hold: Callable[[bool, str], None]) -> None:
    module = moved(_newborn(blueprint, slot, PROBE_SEED), seed=PROBE_SEED)
    x = _batch(slot, 4 * _SAMPLES, "round trip")
    with torch.no_grad():
        module.train()
        module(x)  # running statistics, if it has any, move too
        module.eval()
        y = module(x)
        other = _newborn(blueprint, slot, PROBE_SEED + 1)
        other.load_state_dict(load(save({name: t.contiguous() for name, t in module.state_dict().items()})))
        hold(torch.equal(other.eval()(x), y), "answers differently after a checkpoint round trip")
        shipped = blueprint.deploy(module)(x)
        hold(shipped.shape == x.shape, f"turns {tuple(x.shape)} into {tuple(shipped.shape)} when it is deployed")
        hold(torch.equal(module(x), y), "is changed by its own deployment")
        hold(
            _sqnr_db(y - x, shipped - y) >= DEPLOYED_SQNR_DB,
            f"is another function deployed: {_sqnr_db(y - x, shipped - y):.1f} dB of what it changes",
        )


def _check_causal(blueprint: Blueprint, slot: Slot, hold: Callable[[bool, str], None]) -> None:
    module = moved(_newborn(blueprint, slot, PROBE_SEED), seed=PROBE_SEED)
    x, other = _batch(slot, _SAMPLES, "past"), _batch(slot, _SAMPLES, "future")
    for mode in (False, True):
        module.train(mode)
        for step in range(1, slot.shape[1]):
            changed = torch.cat([x[:, :, :step], other[:, :, step:]], 2)
            with torch.no_grad():
                error = float((module(changed) - module(x))[:, :, :step].abs().max())
            hold(error < IDENTITY_TOLERANCE, f"is said to be causal, yet step {step} changes earlier ones")


def _sqnr_db(signal: torch.Tensor, noise: torch.Tensor) -> float:
    energy = float(noise.double().square().sum())
    return math.inf if energy == 0 else 10 * math.log10(max(float(signal.double().square().sum()), 1e-300) / energy)


def _newborn(blueprint: Blueprint, slot: Slot, seed: int) -> nn.Module:
    with initialising(seed):
        return blueprint.build(slot)


def _batch(slot: Slot, samples: int, *purpose: int | str) -> torch.Tensor:
    return torch.randn(samples, *slot.shape, generator=generator(PROBE_SEED, *purpose))


def _hold(condition: bool, blueprint: Blueprint, slot: Slot | None, problem: str) -> None:
    if not condition:
        where = "" if slot is None else f" (slot {slot.domain} {list(slot.shape)})"
        raise IncompatibleError(
            f"blueprint '{blueprint.name}' {problem}{where}",
            hint="see tamiyo_train/blueprints/base.py for the rules every blueprint keeps",
        )
