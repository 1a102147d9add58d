"""What single families of blueprints promise beyond the rules that all keep."""

from __future__ import annotations

import pytest
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.blueprints import WithAuxiliaryLoss, WithScore, blueprints, deployed
from tamiyo_train.blueprints.check import moved
from tamiyo_train.blueprints.fail_safe import fail_safe
from tamiyo_train.footprint import Footprint, Kind
from tamiyo_train.pricing import ops
from tamiyo_train.seeding import generator, initialising
from tamiyo_train.slots import image, joint, sequence, vector


def trained(name, slot, seed=0):
    """A seed off the identity, in evaluation mode."""
    with initialising(seed):
        return moved(blueprints.get(name).build(slot), seed=seed).eval()


def batch(slot, samples=8):
    return torch.randn(samples, *slot.shape, generator=generator(0, "batch"))


def changes(module, x, moved_x):
    """Where the answer changes when the input does, as a mask of the output's shape."""
    with torch.no_grad():
        return (module(moved_x) - module(x)).abs() > 1e-6


@pytest.mark.parametrize("name", ["mini-attention-causal", "sliding-conv", "sliding-conv-long"])
def test_causal_seeds_never_see_the_future(name):
    slot = sequence(8, 20)
    module, x = trained(name, slot), batch(slot)
    later = x.clone()
    later[:, :, 12] += 3
    seen = changes(module, x, later)
    assert not seen[:, :, :12].any()
    assert seen[:, :, 13:].any()


@pytest.mark.parametrize("name", ["mini-attention", "mini-attention-single", "mini-attention-linear"])
def test_attention_lets_every_step_see_every_other(name):
    slot = sequence(8, 20)
    module, x = trained(name, slot), batch(slot)
    later = x.clone()
    later[:, :, 12] += 3
    assert changes(module, x, later).any(1).any(0).all()


def test_linear_attention_costs_linear_and_attention_quadratic_time():
    def macs(name, time):
        return Footprint.of(blueprints.get(name).layers(sequence(8, time))).macs

    assert macs("mini-attention-linear", 80) == 2 * macs("mini-attention-linear", 40)
    assert macs("mini-attention", 80) > 2 * macs("mini-attention", 40)


def test_attention_alone_in_time_is_refused():
    with pytest.raises(IncompatibleError, match="needs 2 time steps or more"):
        blueprints.get("mini-attention").check_fits(sequence(8, 1))


@pytest.mark.parametrize("slot", [joint(8), joint(8, 5)])
@pytest.mark.parametrize("name", ["cross-attention", "latent-align"])
def test_each_modality_hears_the_other(name, slot):
    module, x = trained(name, slot), batch(slot)
    for speaker in (0, 1):
        louder = x.clone()
        louder[:, speaker] *= 2
        assert changes(module, x, louder)[:, 1 - speaker].any()


def test_widening_reads_the_carried_input_and_writes_the_features_alone():
    slot = vector(6 + 40, carried=(1, 40))
    module, x = trained("widening", slot), batch(slot)
    other = x.clone()
    other[:, 6:] += 1
    with torch.no_grad():
        assert (module(other)[:, :6] != module(x)[:, :6]).any()
        assert torch.equal(module(x)[:, 6:], x[:, 6:])
    assert module.down.out_features == 4 * 6


def test_input_conv_says_what_a_slot_lacks():
    blueprint = blueprints.get("input-conv")
    assert "carries none" in blueprint.misfit(vector(8))
    assert "shape [2]" in blueprint.misfit(vector(8, carried=(2,)))
    assert blueprint.misfit(vector(8 + 64, carried=(1, 8, 8))) is None


def test_the_denoisers_loss_is_one_at_birth_and_falls_when_it_is_trained():
    with initialising(0):
        module = blueprints.get("denoiser").build(vector(16))
        centres = torch.randn(4, 16)
    assert isinstance(module, WithAuxiliaryLoss)
    x = centres[torch.randint(4, (64,), generator=generator(1))]
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    assert float(module.auxiliary_loss(x).detach()) == pytest.approx(1.0)
    for _ in range(80):
        optimiser.zero_grad()
        module.auxiliary_loss(x).backward()
        optimiser.step()
    assert float(module.auxiliary_loss(x).detach()) < 0.5


def test_the_denoisers_loss_of_a_single_sample_is_finite():
    module = trained("denoiser", vector(8))
    assert bool(torch.isfinite(module.auxiliary_loss(torch.randn(1, 8))))


def test_an_attention_filter_tells_its_score_and_corrects_by_it():
    slot = image(8, 4, 4)
    module, x = trained("attention-filter", slot), batch(slot)
    assert isinstance(module, WithScore)
    with torch.no_grad():
        score = module.score(x)
        assert score.shape == (8,)
        assert ((score > 0) & (score < 1)).all()
        module.detect.bias.fill_(-100.0)
        assert torch.allclose(module(x), x)


@pytest.mark.parametrize("slot", [vector(12), sequence(12, 6), image(12, 4, 4)])
def test_sparse_activation_lets_a_quarter_win_in_training_and_deploys_as_a_bias(slot):
    with initialising(0):
        module = moved(blueprints.get("sparse-activation").build(slot), seed=0)
    active = []
    module.act.register_forward_hook(lambda _, __, out: active.append((out > 0).float().sum(1)))
    x = batch(slot, 64)
    for _ in range(60):
        module.train()(x)
    assert all(bool((count == 6).all()) for count in active)
    module.eval()
    y = module(x)
    assert float((active[-1] / 24).mean()) == pytest.approx(0.25, abs=0.1)
    assert torch.allclose(deployed(module)(x), y, atol=1e-5)


@pytest.mark.parametrize(("name", "levels"), [("quant-adapter", 255), ("quant-adapter-4bit", 15)])
def test_a_quant_adapter_rounds_in_evaluation_and_deploys_weights_on_their_grid(name, levels):
    slot = vector(16)
    module, x = trained(name, slot), batch(slot, 64)
    module.train()(x)
    module.eval()
    baked = deployed(module)
    plain = {key: value for key, value in module.state_dict().items() if "weight" in key}
    for key, weight in baked.state_dict().items():
        if key.endswith("weight"):
            assert not torch.equal(weight, plain[key])
            assert max(len(row.unique()) for row in weight) <= levels
    with torch.no_grad():
        rounded, smooth = module(x) - x, baked(x) - x
    assert not torch.equal(rounded, smooth)
    assert float((rounded - smooth).norm() / smooth.norm()) < 0.05


def test_rounding_passes_gradients_straight_through_and_clipping_does_not():
    module = trained("quant-adapter", vector(16)).eval()
    x = torch.zeros(2, 16)
    x[0, 0], x[1, 0] = 1.0, 100.0
    entering = x.clone().requires_grad_()
    module.entering(entering).sum().backward()
    assert entering.grad[0, 0] == 1.0
    assert entering.grad[1, 0] == 0.0


@pytest.mark.parametrize("slot", [vector(8), vector(8 + 4, carried=(4,)), image(8, 4, 4)])
def test_a_fail_safe_closes_to_the_host_for_the_samples_that_are_at_fault(slot):
    module, x = trained("fail-safe-bottleneck", slot), batch(slot)
    with torch.no_grad():
        good = module(x)
        faulty = x.clone()
        faulty[3] = 3e38  # overflows inside the seed
        y = module(faulty)
        assert not torch.isfinite(module.seed(faulty)[3]).all()
        assert torch.equal(y[3], faulty[3])
        assert torch.allclose(y[:3], good[:3])
        module.seed.up.weight.fill_(float("nan"))
        assert torch.equal(module(x), x)


def test_a_fail_safe_gate_learns_and_its_deployment_says_what_it_leaves_out():
    blueprint, slot = blueprints.get("fail-safe-bottleneck"), image(8, 4, 4)
    module, x = trained("fail-safe-bottleneck", slot), batch(slot)
    module(x).square().sum().backward()
    assert module.closed.grad.abs().sum() > 0
    assert torch.allclose(blueprint.deploy(module)(x), module(x), atol=1e-6)
    assert any("not finite" in text for text in blueprint.left_out)


@pytest.mark.parametrize("name", ["squeeze-excite", "quant-adapter", "latent-align", "denoiser"])
def test_any_blueprint_can_be_made_fail_safe(name):
    from tamiyo_train.blueprints import check_blueprint

    inner = blueprints.get(name)
    wrapped = fail_safe(inner)
    assert wrapped.name == f"fail-safe-{name}"
    check_blueprint(wrapped)
    slot = joint(8) if name == "latent-align" else image(8, 4, 4)
    assert isinstance(wrapped.build(slot), WithAuxiliaryLoss) == (name == "denoiser")


@pytest.mark.parametrize("name", blueprints.names())
def test_every_seed_has_a_price_on_a_device_profile(name):
    from tamiyo_train.blueprints.catalogue import entries

    (entry,) = entries([name])
    priced = ops(entry.blueprint.layers(entry.slot), on_host={Kind.SOFTMAX, Kind.MATMUL})
    assert sum(op.macs for op in priced) == entry.cost.macs
    assert all(op.on_accelerator for op in priced) == ("attention" not in name or name == "attention-filter")


@pytest.mark.parametrize(
    ("name", "d", "params"),
    [
        ("low-rank", 64, 2 * 64 * 8 + 8 + 64),
        ("low-rank", 16, 2 * 16 * 4 + 4 + 16),
        ("adapter", 16, 2 * 16 * 8 + 8 + 16),
        ("bottleneck-quarter", 64, 2 * 64 * 16 + 16 + 64),
        ("residual-mlp", 8, 2 * 8 * 16 + 16 + 8),
        ("residual-mlp-half", 8, 2 * 8 * 4 + 4 + 8),
        ("glu", 8, 2 * 64 + 16),
        ("mini-attention", 8, 4 * 64 + 24),
        ("sliding-conv", 8, 7 * 8 + 8),
        ("sparse-activation", 8, 4 * 64 + 3 * 8),
        ("cross-attention", 32, 4 * 1024 + 96),
        ("latent-align", 32, 4 * 1024 + 96),
    ],
)
def test_published_formulas_for_parameters(name, d, params):
    from tamiyo_train.blueprints.catalogue import entries

    (entry,) = entries([name], channels=d)
    assert entry.cost.params == params


@pytest.mark.parametrize("name", ["sparse-activation", "quant-adapter", "fail-safe-bottleneck", "nested"])
def test_deployment_leaves_torchs_generator_alone(name):
    module = trained(name, vector(8))
    before = torch.get_rng_state()
    deployed(module)
    assert torch.equal(torch.get_rng_state(), before)
