"""Metrics against scikit-learn, against what is known in closed form, and their directions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError
from tamiyo_train.data import data_of
from tamiyo_train.evaluation import configurations, network_result
from tamiyo_train.hosts import hosts
from tamiyo_train.metrics import Direction, Metric, metrics, probabilities
from tamiyo_train.seeding import initialising
from tamiyo_train.static import committed

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0, 2, (400, 5))
LABELS = RNG.integers(0, 5, 400)


def test_macro_auc_is_that_of_scikit_learn_with_ties_and_without() -> None:
    for logits in (LOGITS, np.round(LOGITS)):
        wanted = roc_auc_score(LABELS, probabilities(logits), multi_class="ovr", average="macro")
        assert metrics.get("macro-auc").of(logits, LABELS) == pytest.approx(wanted, abs=1e-12)


def test_macro_auc_of_a_class_without_samples_is_refused_by_its_number() -> None:
    labels = np.where(LABELS == 3, 0, LABELS)
    with pytest.raises(InputError, match="class 3 is not defined: 0 samples"):
        metrics.get("macro-auc").of(LOGITS, labels)


def test_bits_per_character_of_even_odds_are_the_logarithm_of_the_alphabet() -> None:
    assert metrics.get("bits/char").of(np.zeros((7, 8)), np.arange(7)) == pytest.approx(3.0)


def test_every_place_of_a_sequence_counts_as_torch_counts_it() -> None:
    logits, labels = RNG.normal(0, 3, (6, 5, 9)), RNG.integers(0, 5, (6, 9))
    nats = float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
    assert metrics.get("bits/char").of(logits, labels) == pytest.approx(nats / math.log(2))
    assert metrics.get("accuracy").of(logits, labels) == pytest.approx(np.mean(logits.argmax(1) == labels))


def test_purity_does_not_mind_how_clusters_are_numbered() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    answered = np.array([2, 2, 0, 0, 1, 0])
    assert metrics.get("purity").of(np.eye(3)[answered], labels) == pytest.approx(5 / 6)
    assert metrics.get("accuracy").of(np.eye(3)[answered], labels) == 0


def test_recall_counts_the_queries_whose_match_comes_first() -> None:
    likeness = np.eye(4)
    likeness[2] = likeness[3]
    assert metrics.get("recall@1").of(likeness, np.arange(4)) == 0.75


@pytest.mark.parametrize(("name", "good", "bad"), [("macro-auc", 0.96, 0.95), ("bits/char", 0.9, 1.0)])
def test_a_metric_knows_which_way_is_better(name: str, good: float, bad: float) -> None:
    metric = metrics.get(name)
    assert metric.better(good, bad)
    assert not metric.better(bad, good)
    assert not metric.better(bad, bad)
    assert metric.reaches(bad, bad)
    assert metric.reaches(good, bad)
    assert not metric.reaches(bad, good)
    assert not metric.reaches(math.nan, bad)


def test_a_network_that_gives_nan_has_no_figure() -> None:
    assert math.isnan(metrics.get("accuracy").of(np.full((3, 2), np.nan), np.array([0, 1, 0])))


def test_shapes_that_do_not_fit_and_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(3, 2\) for labels of shape \(2,\)"):
        metrics.get("accuracy").of(np.zeros((3, 2)), np.array([0, 1]))
    with pytest.raises(UnknownNameError, match="macro-acu"):
        metrics.get("macro-acu")
    with pytest.raises(SchemaError, match="unit"):
        Metric(name="x", unit="furlongs", direction=Direction.LOWER, measure=lambda logits, labels: 0.0)


def test_shares_are_read_in_per_cent_and_bits_as_they_are() -> None:
    assert metrics.get("accuracy").text(0.9012) == "90.1%"
    assert metrics.get("bits/char").text(0.9012) == "0.901"


def test_a_network_is_measured_by_the_metric_of_its_task_beside_accuracy() -> None:
    with initialising(0):
        network = committed(hosts.get("mlp")(shape=(2,), classes=5, width=4), {1: "bottleneck"}, seed=0)
    plain = replace(data_of("clusters"), metric="accuracy")
    judged = replace(plain, metric="macro-auc")
    assert network_result(network, plain, 0, 0).test_metric is None
    result, records = network_result(network, judged, 0, 0), configurations(network, judged)
    shares = network(plain.test.x).softmax(1).detach().numpy()
    wanted = roc_auc_score(plain.test.y.numpy(), shares, multi_class="ovr", average="macro")
    assert result.test_metric == pytest.approx(wanted, abs=1e-6)
    assert [record.gates for record in records] == [(False, False, False), (False, True, False)]
    assert records[-1].test_metric == pytest.approx(wanted, abs=1e-6)
