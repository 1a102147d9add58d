"""Attacks and corruptions: what they do to a network whose answers are known, and the bounds that go with it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tamiyo_runtime.contracts.errors import SchemaError, UsageError
from tamiyo_train.config import Episode, Limits, adapted
from tamiyo_train.data import Labelled, data_of
from tamiyo_train.hosts.base import Host
from tamiyo_train.measures import Measure, measures_of
from tamiyo_train.metrics import Direction
from tamiyo_train.preflight import check
from tamiyo_train.presets import preset
from tamiyo_train.robustness import Attack, Denoising, attacked, denoising, fgsm
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.slots import vector
from tamiyo_train.static import committed, train_static
from tamiyo_train.trainer import Trainer
from tests.unit.tamiyo_train.helpers import new_host


class Threshold(nn.Module):
    """Class 1 where the first input is above 0.5."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logit = 10 * (x[:, :1] - 0.5)
        return torch.cat([-logit, logit], 1)


def threshold() -> GrownNetwork:
    host = Host(
        name="threshold",
        trunk=nn.ModuleList([nn.Identity(), Threshold()]),
        places=(vector(2),),
        layers=((), ()),
    )
    return GrownNetwork(host, lambda transition: None)


def points(*first: float) -> Labelled:
    x = torch.tensor([[value, 0.5] for value in first])
    return Labelled(x=x, y=(x[:, 0] > 0.5).long())


def test_the_attack_moves_each_input_by_epsilon_against_the_right_answer_and_stays_in_range():
    split = points(0.2, 0.9, 0.0, 1.0)
    moved = fgsm(threshold(), split, epsilon=0.03)
    torch.testing.assert_close(moved[:, 0], torch.tensor([0.23, 0.87, 0.03, 0.97]))
    assert torch.equal(moved[:, 1], split.x[:, 1])  # no gradient, no change


def test_those_within_epsilon_of_the_border_are_lost_and_the_wrong_ones_do_not_count():
    split = points(0.49, 0.52, 0.4, 0.8, 0.1)
    split = Labelled(x=split.x, y=torch.tensor([0, 1, 0, 1, 1]))  # the last is answered wrongly
    found = attacked(threshold(), split)
    assert found == Attack(right=4, lost=2)
    assert found.drop == 0.5
    assert attacked(threshold(), split, epsilon=0.0) == Attack(right=4, lost=0)


def test_a_network_that_is_never_right_has_nothing_to_lose_and_is_trusted_with_nothing():
    split = points(0.1, 0.9)
    found = attacked(threshold(), Labelled(x=split.x, y=1 - split.y))
    assert found == Attack(right=0, lost=0)
    assert (found.drop, found.drop_high) == (0.0, 1.0)


def test_the_bound_of_a_drop_is_clopper_and_pearsons():
    assert Attack(right=100, lost=0).drop_high == pytest.approx(1 - 0.05 ** (1 / 100))
    assert Attack(right=359, lost=5).drop_high > 5 / 359


def test_inputs_that_are_not_in_the_unit_range_are_refused():
    with pytest.raises(SchemaError, match=r"0\.\.1"):
        fgsm(threshold(), Labelled(x=torch.tensor([[2.0, 0.0]]), y=torch.tensor([1])))


def test_an_attack_leaves_a_real_network_as_it_was(data):
    network = GrownNetwork(new_host(), lambda transition: None)
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    moved = fgsm(network, data.test)
    assert float((moved - data.test.x).abs().max()) == pytest.approx(0.03, abs=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(param.grad is None for param in network.parameters())
    assert network.training


def answers(*shares: float, of: int = 100) -> list[np.ndarray]:
    return [np.arange(of) < round(share * of) for share in shares]


class TestDenoising:
    def found(self) -> Denoising:
        host, clean, fog, stripe = answers(0.95, 0.96, 0.9, 0.8)
        return Denoising(host=host, clean=clean, corrupted={"fog": fog, "stripe": stripe})

    def test_the_score_is_corrupted_over_clean_accuracy(self):
        found = self.found()
        assert found.accuracy() == pytest.approx(0.85)
        assert found.accuracy(without=("fog",)) == pytest.approx(0.8)
        assert found.score == pytest.approx(0.85 / 0.96)
        assert found.clean_loss == pytest.approx(-0.01)

    def test_bounds_are_below_the_figures_and_those_of_resampled_images(self):
        found = self.found()
        assert found.accuracy_low() < found.accuracy()
        assert found.score_low < found.score
        alike = Denoising(host=found.host, clean=found.clean, corrupted={"fog": found.corrupted["fog"]} | {})
        error = np.sqrt(0.9 * 0.1 / 100)
        assert alike.accuracy_low() == pytest.approx(0.9 - 1.645 * error, abs=0.01)

    def test_copies_of_the_same_images_are_no_further_evidence(self):
        one = self.found().corrupted["fog"]
        once = Denoising(host=one, clean=one, corrupted={"a": one})
        often = Denoising(host=one, clean=one, corrupted={str(copy): one for copy in range(15)})
        assert once.accuracy_low() == often.accuracy_low()

    def test_the_host_is_asked_without_seeds(self, data):
        network = committed(new_host(), {2: "wide-conv"}, seed=0)
        with torch.no_grad():
            for param in network.seed_at(2).module.parameters():
                param.normal_()
        found = denoising(network, data.test, {"same": data.test})
        bare = GrownNetwork(new_host(), lambda transition: None)
        assert not np.array_equal(found.host, found.clean)
        with torch.no_grad():
            expected = bare.eval()(data.test.x).argmax(1) == data.test.y
        assert np.array_equal(found.host, expected.numpy())
        assert found.score == 1.0


class TestMeasures:
    def test_a_limit_is_held_by_the_bound_where_there_is_one(self):
        lower = Measure(name="x", unit="share", value=0.04, bound=0.06, limit=0.05)
        assert lower.held is False
        assert Measure(name="x", unit="share", value=0.04, limit=0.05).held is True
        higher = Measure(name="x", unit="share", value=0.91, bound=0.9, limit=0.9, better=Direction.HIGHER)
        assert higher.held is True
        assert Measure(name="x", unit="share", value=0.91).held is None

    @pytest.mark.parametrize("task", ["digits", "digits-c"])
    def test_a_run_is_measured_by_what_its_task_asks(self, task):
        network = GrownNetwork(new_host(), lambda transition: None)
        run = SimpleNamespace(record=SimpleNamespace(task=task, config={}), grown_network=lambda: network)
        found = {item.name: item for item in measures_of(run)}
        if task == "digits":
            (only,) = found.values()
            assert only.limit == 0.05 and only.value <= only.bound
        else:
            assert len([name for name in found if name.endswith("trained on")]) == 1 + 5
            overall = found["mean accuracy over 15 corruptions"]
            test = data_of("digits-c").test
            with torch.no_grad():
                right = (network.eval()(test.x).argmax(1) == test.y).double().mean()
            assert overall.value == pytest.approx(float(right))

    def test_a_task_without_further_measures_has_none(self):
        assert measures_of(SimpleNamespace(record=SimpleNamespace(task="moons"))) == ()

    def test_bits_a_letter_are_those_of_the_metric_and_stand_beside_the_entropy(self):
        from tamiyo_train.hosts import hosts
        from tamiyo_train.metrics import metrics
        from tamiyo_train.seeding import initialising
        from tamiyo_train.tasks.language import ENTROPY, INPUT

        test = data_of("language").test
        with initialising(0):
            network = GrownNetwork(hosts.get("causal1d")(shape=INPUT.shape, classes=21, width=4), lambda moved: None)
        bits, above, entropy = measures_of(
            SimpleNamespace(record=SimpleNamespace(task="language", config={}), grown_network=lambda: network)
        )
        with torch.no_grad():
            logits = network.eval()(test.x)
        assert bits.value == pytest.approx(metrics.get("bits/char").of(logits.numpy(), test.y.numpy()), rel=1e-4)
        assert above.value == pytest.approx(bits.value - ENTROPY)
        assert entropy.value == ENTROPY and entropy.held is None
        assert bits.bound > bits.value and bits.held is False


class TestTrainingAgainstAttacks:
    SHORT = Episode(steps=32, decisions=8, consolidation_steps=8, batch=32, attack=0.05)

    def trainer(self, data, attack: float) -> Trainer:
        network = GrownNetwork(new_host(), lambda transition: None)
        return Trainer(network, data, replace(self.SHORT, attack=attack), seed=0)

    def test_half_of_every_batch_is_moved_and_stays_in_range(self, data, monkeypatch):
        trainer = self.trainer(data, 0.05)
        seen, plain = [], GrownNetwork.forward
        monkeypatch.setattr(GrownNetwork, "forward", lambda self, x, *more: seen.append(x) or plain(self, x, *more))
        trainer.step()
        (before, batch), untouched = seen, self.trainer(data, 0.0)
        x, _ = untouched.data.batch(32, untouched.generators["batches"])
        assert torch.equal(before.detach(), x[:16]) and torch.equal(batch[16:], x[16:])
        moved = (batch[:16] - x[:16]).abs()
        assert float(moved.max()) == pytest.approx(0.05, abs=1e-6) and batch.min() >= 0 and batch.max() <= 1

    def test_it_costs_half_a_batch_to_the_data_and_back_and_without_one_nothing_changes(self, data):
        attacking, plain = self.trainer(data, 0.05), self.trainer(data, 0.0)
        for trainer in (attacking, plain):
            trainer.step()
        assert attacking.training_macs - plain.training_macs == 16 * 2 * 8976
        assert attacking.generators["batches"].get_state().equal(plain.generators["batches"].get_state())

    def test_a_network_trained_against_attacks_loses_fewer_answers(self, data):
        config = replace(self.SHORT, steps=320, batch=96, consolidation_steps=0, limits=Limits())
        drops = []
        for attack in (0.0, 0.1):
            network = train_static(new_host(), {}, data, replace(config, attack=attack), seed=0).network
            drops.append(attacked(network, data.test, epsilon=0.06).drop)
        assert drops[1] < 0.8 * drops[0]

    def test_attacks_are_refused_where_they_mean_nothing(self):
        with pytest.raises(UsageError, match=r"inputs in \[-1\.5, 1\.5\]"):
            check(adapted(preset("spirals"), attack=0.03))
        with pytest.raises(SchemaError, match="attack"):
            adapted(preset("digits"), attack=1.5)
        both = adapted(preset("digits"), attack=0.03)
        assert both.collect.attack == both.final.attack == 0.03
        assert adapted(preset("digits")) == preset("digits")
