"""Cross-modal drift and membership: held against closed forms, and each finds what it is there to find."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train import measures
from tamiyo_train.alignment import PairDrift, linear_cka, matched, pair_drift, strayed
from tamiyo_train.blueprints.check import moved
from tamiyo_train.config import FINAL
from tamiyo_train.curriculum import measures_pair
from tamiyo_train.curriculum.measures import networks
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.data import Labelled, data_of, labelled
from tamiyo_train.hosts import hosts
from tamiyo_train.membership import area, by_embeddings, by_logits, discriminant
from tamiyo_train.seeding import initialising
from tamiyo_train.static import committed, train_static
from tamiyo_train.tasks.captions import GALLERY, INPUT, NEW, draw


def new_host(width: int = 3):
    with initialising(2):
        return hosts.get("pairs")(shape=INPUT.shape, classes=GALLERY, width=width)


def samples(split: str, size: int) -> Labelled:
    return labelled(draw(split, size), INPUT)


class TestAlignment:
    def test_rotation_and_scale_are_no_change_and_other_features_are(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(400, 6, generator=generator)
        turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
        assert linear_cka(x, 3 * x @ turn + 5) == pytest.approx(1, abs=1e-6)
        assert linear_cka(x, torch.randn(400, 6, generator=generator)) < 0.1

    def test_it_is_the_alignment_of_the_centred_gram_matrices(self):
        generator = torch.Generator().manual_seed(1)
        a, b = (torch.randn(30, size, generator=generator).double() for size in (3, 5))
        centre = torch.eye(30).double() - 1 / 30
        k, m = centre @ a @ a.T @ centre, centre @ b @ b.T @ centre
        assert linear_cka(a, b) == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())), rel=1e-9)

    def test_what_does_not_vary_is_like_nothing_that_does(self):
        x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
        assert linear_cka(x, torch.ones(9, 2)) == 0.0
        assert linear_cka(torch.zeros(9, 2), torch.ones(9, 2)) == 1.0

    def test_the_embeddings_are_those_that_the_logits_compare(self):
        network, split = committed(new_host(), {1: "latent-align"}, seed=0), samples("gate", 6)
        moved(network.seed_at(1).module, seed=1)
        pairs = matched(network, split)
        with torch.no_grad():
            right = network.eval()(split.x)[torch.arange(6), split.y]
        cosines = torch.nn.functional.cosine_similarity(pairs[:, 0], pairs[:, 1])
        torch.testing.assert_close(right, network.trunk[-1].sharpness.detach() * cosines, rtol=1e-4, atol=1e-4)

    def test_a_newborn_does_not_drift_and_a_disturbed_seed_does(self):
        network, probes = committed(new_host(), {0: "cross-attention", 2: "latent-align"}, seed=0), samples("gate", 40)
        for slot in (0, 2):
            assert pair_drift(network, probes, slot).worst < 1e-6
        moved(network.seed_at(2).module, seed=1)
        found = pair_drift(network, probes, 2)
        assert found.worst > 0.01 and pair_drift(network, probes, 0).worst < 1e-6
        assert found.worst == max(found.image, found.caption, abs(found.cosine))

    def test_a_lost_cosine_counts_as_a_won_one(self):
        assert PairDrift(image=0.01, caption=0.02, cosine=-0.3).worst == 0.3


class TestStraying:
    """Held to a target while it is trained, a seed moves the space less."""

    def pairs(self, size: int = 60) -> torch.Tensor:
        return torch.randn(size, 2, 5, generator=torch.Generator().manual_seed(3))

    def test_what_is_above_the_target_costs_in_targets_and_what_is_below_is_free(self):
        before = self.pairs()
        after = before.clone()
        after[:, 1] = after[:, 1].roll(1, 0)  # every caption is another's: a rotation of nothing
        apart = 1 - linear_cka(before[:, 1], after[:, 1])
        closer = abs(float((cosines(after) - cosines(before)).mean()))
        expected = sum(max(0.0, part / 0.05 - 1) for part in (apart, closer))
        assert float(strayed(before, after, target=0.05)) == pytest.approx(expected, rel=1e-4)
        assert float(strayed(before, after, target=2.0)) == 0.0
        assert float(strayed(before, before.clone(), target=0.001)) == 0.0

    def test_following_its_gradient_brings_the_space_back(self):
        before = self.pairs()
        after = (before + 0.5 * self.pairs().flip(0)).requires_grad_(True)
        first = strayed(before, after, target=0.01)
        (gradient,) = torch.autograd.grad(first, after)
        with torch.no_grad():
            assert strayed(before, after - 0.05 * gradient, target=0.01) < first

    def test_held_to_a_target_seeds_move_the_space_less(self):
        few, probes = samples("train", 80), samples("gate", 40)
        data = replace(data_of("captions"), variants=few.x[None], train_y=few.y)
        config = replace(FINAL, steps=64, consolidation_steps=32, batch=20, learning_rate=0.02)

        def worst(**changes: float) -> float:
            network = train_static(new_host(), {1: "cross-attention"}, data, replace(config, **changes), seed=0).network
            return pair_drift(network, probes, 1).worst

        free = worst()
        assert free > 0.1
        assert worst(space_target=0.025) < 0.5 * free
        assert worst(space_target=2.0) == free, "a target that nothing reaches changes nothing"

    def test_a_stage_whose_gate_bounds_it_trains_towards_half_of_the_bound(self):
        for stage in CURRICULUM.stages:
            config = stage.config()
            expected = 0.025 if stage.id == "4.5" else None
            assert config.final.space_target == config.collect.space_target == expected

    @pytest.mark.parametrize("changes", [{"space_target": 0.0}, {"space_target": 2.5}, {"space_weight": 0.0}])
    def test_a_target_that_means_nothing_is_refused(self, changes):
        with pytest.raises(SchemaError, match=next(iter(changes))):
            replace(FINAL, **changes)


def cosines(pairs: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(pairs[:, 0], pairs[:, 1])


class TestMembership:
    def test_the_area_is_how_often_a_member_scores_above_another(self):
        members, others = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 3.0])
        wins = sum((m > o) + 0.5 * (m == o) for m in members for o in others)
        assert area(members, others).value == pytest.approx(wins / 12)

    def test_the_bound_covers_guessing_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        covered = [area(*rng.standard_normal((2, 150))).high >= 0.5 for _ in range(400)]
        assert 0.91 < np.mean(covered) < 0.985

    def test_the_discriminant_finds_the_direction_that_differs(self):
        rng = np.random.default_rng(0)
        spread = np.array([5.0, 1.0, 1.0])
        members, others = rng.standard_normal((2, 4000, 3)) * spread
        members[:, 1] += 0.5
        direction = discriminant(members, others)
        assert abs(direction[1]) > 8 * max(abs(direction[0]), abs(direction[2]))

    def test_a_network_that_learned_eighty_samples_by_heart_is_found_out_and_a_new_one_is_not(self):
        few, others = samples("train", 80), samples(NEW, 80)
        untrained = committed(new_host(), {}, seed=0)
        assert by_logits(untrained, few, others).value < 0.65
        data = replace(data_of("captions"), variants=few.x[None], train_y=few.y)
        config = replace(FINAL, steps=160, consolidation_steps=0, batch=20, learning_rate=0.02)
        network = train_static(new_host(), {}, data, config, seed=0).network
        assert by_logits(network, few, others).value > 0.75
        assert 0 <= by_embeddings(network, few, others).value <= 1


@pytest.fixture
def audited(monkeypatch):
    """Fewer samples to audit: the figures are wider, the way to them is the same."""
    monkeypatch.setattr(measures, "AUDITED", 200)
    measures._never_trained_on.cache_clear()
    yield
    measures._never_trained_on.cache_clear()


def test_a_stage_asks_for_the_worst_seed_and_the_larger_bound(audited):
    network = committed(new_host(), {0: "latent-align", 1: "latent-align"}, seed=0)
    moved(network.seed_at(1).module, seed=1)
    pupil = SimpleNamespace(network=network)
    gate = data_of("captions").gate
    probes = Labelled(x=gate.x[:256], y=gate.y[:256])
    assert measures_pair.cross_modal_drift(pupil) == pair_drift(network, probes, 1).worst
    assert networks.get("membership AUC")(pupil) == max(a.high for a in measures.membership(network).values())
    assert measures.worst_pair_drift(committed(new_host(), {}, seed=0)) == 0.0


def test_a_run_is_told_its_recall_drift_and_membership_with_bounds(audited):
    network = committed(new_host(), {0: "latent-align"}, seed=0)
    run = SimpleNamespace(record=SimpleNamespace(task="captions", config={}), grown_network=lambda: network)
    found = measures.measures_of(run)
    assert [measure.limit for measure in found] == [0.60, None, 0.05, 0.55, 0.55]
    recall, _, drift, *areas = found
    assert recall.held is False and recall.bound < recall.value < 0.06
    assert drift.held is True
    assert all(measure.bound > measure.value for measure in areas)
