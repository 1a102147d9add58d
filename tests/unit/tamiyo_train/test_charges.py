"""What training is charged is what torch counts while it runs: every product forward and back, and none besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tamiyo_train import charges, telemetry
from tamiyo_train.blueprints import blueprints
from tamiyo_train.config import Episode
from tamiyo_train.data import Labelled, Tensors
from tamiyo_train.hosts import made
from tamiyo_train.lifecycle import State
from tamiyo_train.seed import GrownNetwork, Seed
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import Domain, Slot
from tamiyo_train.trainer import Trainer

EPISODE = Episode(steps=32, decisions=8, consolidation_steps=0, gate_dropout=0.0, batch=8)
SHAPES = {"mlp": (5,), "mlp-skip": (5,), "attention1d": (2, 12), "conv1d": (2, 16)}
DEEP = "mlp-skip x 5"


def noise(shape: Sequence[int]) -> Tensors:
    """Samples without a meaning, in 0..1."""

    def split(count: int) -> Labelled:
        return Labelled(x=torch.rand(count, *shape), y=torch.arange(count) % 3)

    train, gate = split(40), split(20)
    return Tensors(variants=train.x[None], still=0, train_y=train.y, gate=gate, score=gate, validation=gate, test=gate)


def trainer_with(host: str, on: Mapping[int, str], newborn: Mapping[int, str], *, config: Episode = EPISODE) -> Trainer:
    """A trainer of a host with seeds blended in half way or in training, none of whose weights are nought."""
    name, _, depth = host.partition(" x ")
    with initialising(0):
        built = made(name, shape=SHAPES[name], classes=3, width=4, depth=int(depth) if depth else None)
    network = GrownNetwork(built, lambda transition: None)
    trainer = Trainer(network, noise(SHAPES[name]), config, seed=0)
    for slot, kind in {**on, **newborn}.items():
        blueprint = blueprints.get(kind)
        with initialising(slot):
            module = blueprint.build(built.places[slot])
            for param in module.parameters():
                torch.nn.init.normal_(param, std=0.1)
        trainer.plant(slot, Seed(blueprint=blueprint, module=module, rate=1.0, born_step=0, alpha=0.5 * (slot in on)))
        network.lives[slot].rewind(State.TRAINING if slot in newborn else State.PROBATIONARY)
    return trainer


class Counting(TorchDispatchMode):
    """Multiply-accumulates of what runs, by torch's formula for each operator."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet, aten = func.overloadpacket, torch.ops.aten
        if packet is aten.convolution_backward:  # torch takes the weights of a depthwise one for those of a full one
            gradient, x, weight, _, *how, wanted = args
            self.macs += sum(wanted[:2]) * flop_registry[aten.convolution](x, weight, None, *how, out_val=gradient) // 2
        elif packet in flop_registry:
            self.macs += flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
        return out


def counted(run: Callable[[], object]) -> int:
    """What torch counts while something runs."""
    with Counting() as counting:
        run()
    return counting.macs


@pytest.mark.parametrize(
    ("host", "on", "newborn"),
    [
        ("mlp", {}, {}),
        ("mlp-skip", {}, {}),
        ("mlp-skip", {0: "bottleneck", 2: "glu"}, {}),
        ("mlp", {}, {0: "bottleneck"}),
        ("mlp-skip", {}, {2: "glu"}),
        ("mlp-skip", {0: "glu", 2: "widening"}, {1: "low-rank"}),
        (DEEP, {0: "low-rank", 3: "glu"}, {1: "glu", 2: "bottleneck", 4: "residual-mlp"}),
        ("attention1d", {0: "mini-attention"}, {1: "mini-attention", 2: "bottleneck"}),
        ("attention1d", {3: "mini-attention"}, {0: "mini-attention-linear"}),
        ("conv1d", {0: "bottleneck"}, {1: "glu", 3: "squeeze-excite"}),
        ("conv1d", {2: "no-op"}, {1: "no-op"}),
        ("mlp", {}, {0: "no-op", 1: "glu"}),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_a_step_is_charged_what_torch_counts(host, on, newborn, apart):
    trainer = trainer_with(host, on, newborn, config=replace(EPISODE, apart=apart))
    assert trainer.training_macs == 0
    assert counted(trainer.step) == trainer.training_macs > 0


def test_a_step_that_leaves_seeds_out_is_charged_without_them():
    trainer = trainer_with(DEEP, dict.fromkeys(range(4), "glu"), {4: "glu"}, config=replace(EPISODE, gate_dropout=0.5))
    seen = set()
    for _ in range(12):
        before = trainer.training_macs
        taken = counted(trainer.step)
        assert taken == trainer.training_macs - before
        seen.add(taken)
    assert len(seen) > 2


def test_an_attack_is_charged_the_way_to_the_data_and_back_of_half_a_batch():
    trainer = trainer_with("mlp-skip", {1: "glu"}, {2: "bottleneck"}, config=replace(EPISODE, attack=0.1))
    assert counted(trainer.step) == trainer.training_macs


def test_the_data_get_no_gradient_and_a_held_host_has_none_of_its_weights():
    bare, beside = trainer_with("mlp", {}, {}), trainer_with("mlp", {}, {1: "bottleneck"})
    for trainer in (bare, beside):
        trainer.step()
    first, hidden, last, seed = 5 * 4, 4 * 4, 4 * 3, 2 * 4 * 4
    assert bare.training_macs == 8 * (2 * first + 3 * (2 * hidden + last))
    forward, back = first + 2 * hidden + last + seed, hidden + last  # of trunk pieces behind the newborn
    assert beside.training_macs - bare.training_macs == 8 * (forward + back + seed + seed // 2)
    assert charges.alone(bare.network.host, EPISODE) == EPISODE.steps * bare.training_macs


@pytest.mark.parametrize(
    ("on", "newborn"),
    [({}, {}), ({0: "glu"}, {}), ({0: "glu", 2: "low-rank"}, {1: "bottleneck", 4: "glu"}), ({3: "glu"}, {0: "glu"})],
)
def test_a_reading_is_charged_what_torch_counts(on, newborn):
    trainer = trainer_with(DEEP, on, newborn)
    network = trainer.network
    found = counted(lambda: telemetry.read(network, trainer))
    pieces = network.grown(range(network.slots))
    there, alphas = torch.tensor([bool(piece) for piece in pieces]), torch.tensor(network.alphas())
    charged = charges.reading_pass(charges.tolls(network.host.layers), charges.tolls(pieces), alphas > 0, there)
    assert found == len(trainer.data.gate.y) * int(charged)


def gradients(module: torch.nn.Module, x: torch.Tensor, *, data: bool, weights: bool) -> int:
    """What torch counts on the way back through a module to its data, its weights, or both."""
    x = x.clone().requires_grad_(data)
    y, wanted = module(x), [*([x] if data else []), *(module.parameters() if weights else [])]
    return counted(lambda: torch.autograd.grad(y.sum(), wanted, allow_unused=True)) if wanted and y.requires_grad else 0


@pytest.mark.parametrize("shape", [(6,), (6, 10), (6, 5, 5)])
def test_the_way_back_through_every_blueprint_is_charged_what_torch_counts(shape):
    slot = Slot(shape=shape, domain=(Domain.VECTOR, Domain.SEQUENCE, Domain.IMAGE)[len(shape) - 1])
    fitting = {name: blueprint for name, blueprint in blueprints if blueprint.misfit(slot) is None}
    x = torch.randn(1, *shape)
    for name, blueprint in fitting.items():
        module = blueprint.build(slot).eval()
        forward, weights, activations, entry = charges.toll(blueprint.layers(slot))
        assert counted(lambda module=module: module(x)) == forward, name
        assert gradients(module, x, data=True, weights=False) == activations, name
        assert gradients(module, x, data=False, weights=True) == weights + activations - entry, name
        assert gradients(module, x, data=True, weights=True) == weights + activations, name
    assert len(fitting) >= 12
