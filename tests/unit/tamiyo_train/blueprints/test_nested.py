"""Seeds inside a seed: planting, blending, the depth limit, cost and deployment."""

from __future__ import annotations

import pytest
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError, UsageError
from tamiyo_train.blueprints import WithInnerSlots, blueprints, deployed, with_children
from tamiyo_train.blueprints.check import moved
from tamiyo_train.footprint import Footprint
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import image, vector

SLOT = image(8, 4, 4)


def nested(seed: int = 0, slot=SLOT):
    with initialising(seed):
        module = blueprints.get("nested").build(slot)
    assert isinstance(module, WithInnerSlots)
    return module


def child_for(parent, name: str = "bottleneck", seed: int = 1):
    with initialising(seed):
        return moved(blueprints.get(name).build(parent.places[0]), seed=seed)


def batch(slot=SLOT):
    return torch.randn(4, *slot.shape, generator=torch.Generator().manual_seed(3))


def test_it_exposes_two_inner_slots_of_its_own_domain():
    module = nested()
    assert module.depth == 1
    assert [place.shape for place in module.places] == [(4, 4, 4), (4, 4, 4)]
    assert module.planted == (None, None)
    assert module.alphas == (0.0, 0.0)


def test_a_childs_blending_factor_decides_how_much_of_it_is_seen():
    module, x = moved(nested(), seed=0), batch()
    bare = module(x)
    module.plant(1, child_for(module))
    assert torch.equal(module(x), bare)
    seen = []
    for alpha in (0.25, 0.5, 1.0):
        module.set_alpha(1, alpha)
        seen.append(float((module(x) - bare).detach().norm()))
    assert 0 < seen[0] < seen[1] < seen[2]
    module.uproot(1)
    assert torch.equal(module(x), bare)
    assert module.alphas == (0.0, 0.0)


def test_a_newborn_is_the_identity_whatever_grows_inside():
    module, x = nested(), batch()
    module.plant(0, child_for(module))
    module.set_alpha(0, 1.0)
    assert torch.equal(module(x), x)


def test_seeds_nest_three_deep_and_no_deeper():
    top = nested()
    second = nested(1, top.places[0])
    top.plant(0, second)
    third = nested(2, second.places[0])
    second.plant(1, third)
    assert [top.depth, second.depth, third.depth] == [1, 2, 3]
    assert third.places == ()
    with pytest.raises(UsageError, match="no inner slot 0: a seed of depth 3 has none"):
        third.plant(0, child_for(top))


def test_a_tree_that_would_pass_the_depth_limit_is_refused_whole():
    tree = nested(1)
    branch = nested(2, tree.places[0])
    tree.plant(0, branch)
    branch.plant(0, child_for(branch))
    top = nested(0, vector(8))
    before = {name: value.clone() for name, value in top.state_dict().items()}
    with pytest.raises(IncompatibleError, match="4 deep, 3 is the limit"):
        top.plant(0, tree)
    assert top.planted == (None, None)
    assert tree.depth == 1
    assert before.keys() == top.state_dict().keys()


def test_an_uprooted_tree_starts_from_depth_one_again():
    top = nested()
    second = nested(1, top.places[0])
    top.plant(0, second)
    second.plant(0, child_for(second))
    assert top.uproot(0) is second
    assert second.depth == 1


@pytest.mark.parametrize("index", [-1, 2])
def test_an_inner_slot_that_does_not_exist_is_named(index):
    module = nested()
    with pytest.raises(UsageError, match=f"no inner slot {index}: it has 2"):
        module.plant(index, child_for(module))


def test_a_taken_slot_an_empty_slot_and_a_wrong_factor_are_refused():
    module = nested()
    with pytest.raises(UsageError, match="nothing grows in inner slot 0"):
        module.uproot(0)
    with pytest.raises(UsageError, match="nothing grows"):
        module.set_alpha(0, 0.5)
    module.plant(0, child_for(module))
    with pytest.raises(UsageError, match="inner slot 0 is taken"):
        module.plant(0, child_for(module))
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match=r"in 0\.\.1"):
            module.set_alpha(0, alpha)
    assert module.alphas[0] == 0.0


def test_its_cost_counts_its_children():
    blueprint, child = blueprints.get("nested"), blueprints.get("bottleneck")
    module = nested()
    module.plant(0, child.build(module.places[0]))
    module.plant(1, child.build(module.places[1]))
    layers = with_children(blueprint.layers(SLOT), [child.layers(place) for place in module.places])
    assert Footprint.of(layers).params == sum(param.numel() for param in module.parameters())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_deployment_freezes_children_and_leaves_out_those_that_are_off(alpha):
    module, x = moved(nested(), seed=0).eval(), batch()
    module.plant(0, child_for(module, "squeeze-excite").eval())
    module.set_alpha(0, alpha)
    frozen = deployed(module)
    assert torch.equal(frozen(x), module(x))
    assert (len(frozen.state_dict()) < len(module.state_dict())) == (alpha == 0.0)
    assert module.planted[0] is not None


def test_checkpoints_hold_the_children_under_their_own_names():
    module = nested()
    module.plant(1, child_for(module))
    assert "child_1.up.weight" in module.state_dict()
