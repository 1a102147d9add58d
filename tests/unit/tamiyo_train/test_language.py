"""The generated language: its entropy is exact, its samples say what comes next, and nothing sees the future."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tamiyo_runtime.contracts.errors import IncompatibleError, InputError, SchemaError, UsageError
from tamiyo_train import handover
from tamiyo_train.admission import check_tensors
from tamiyo_train.blueprints import blueprints, check_blueprint
from tamiyo_train.blueprints.check import moved
from tamiyo_train.config import Episode
from tamiyo_train.data import Labelled, task_of, tensors
from tamiyo_train.env import GrowthEnv, play
from tamiyo_train.evaluation import by_sample, score
from tamiyo_train.experiment import check
from tamiyo_train.jobs import offered
from tamiyo_train.metrics import metrics
from tamiyo_train.policy.baselines import KasminaMicro
from tamiyo_train.presets import preset
from tamiyo_train.pricing import Pricer
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import Domain, image, sequence
from tamiyo_train.static import committed
from tamiyo_train.tasks.base import check_samples
from tamiyo_train.tasks.grammar import Choice, Grammar
from tamiyo_train.tasks.language import ALPHABET, ENTROPY, GRAMMAR, INPUT, LETTERS, draw, encoded, language
from tamiyo_train.telemetry import read
from tamiyo_train.trainer import Trainer


def host(width: int = 6):
    from tamiyo_train.hosts import hosts

    with initialising(1):
        return hosts.get("causal1d")(shape=INPUT.shape, classes=len(ALPHABET), width=width)


@pytest.fixture(scope="module")
def task():
    return language()


@pytest.fixture(scope="module")
def texts(task):
    return tensors(task)


def coin() -> Grammar:
    """A fair choice of two words of two letters and of four: 1 bit a word, 3 letters a word on average."""
    choices = (Choice(word="a ", share=0.5, then="s"), Choice(word="bcd ", share=0.5, then="s"))
    return Grammar(start="s", states={"s": choices})


class TestGrammar:
    def test_the_rate_of_a_known_source_is_its_entropy(self):
        assert coin().rate == pytest.approx(1 / 3)
        assert coin().entropies(3).tolist() == pytest.approx([1.0, 0.0, 0.5])  # after 'a ' another word begins

    def test_a_chain_with_memory_has_the_rate_of_its_stationary_words(self):
        states = {
            "x": (Choice(word="a ", share=0.5, then="x"), Choice(word="b ", share=0.5, then="y")),
            "y": (Choice(word="c ", share=1.0, then="x"),),
        }
        assert Grammar(start="x", states=states).rate == pytest.approx(2 / 3 * 1 / 2)  # pi = (2/3, 1/3)

    def test_what_the_true_model_pays_on_drawn_texts_converges_to_the_entropy(self):
        rng = np.random.default_rng(3)
        costs = np.array([GRAMMAR.bits(GRAMMAR.draw(LETTERS, rng)).mean() for _ in range(3000)])
        error = costs.std() / math.sqrt(len(costs))
        assert error < 0.001
        assert costs.mean() == pytest.approx(ENTROPY, abs=4 * error)

    def test_a_long_text_costs_the_rate(self):
        costs = GRAMMAR.bits(GRAMMAR.draw(60_000, np.random.default_rng(0)))
        assert costs.mean() == pytest.approx(GRAMMAR.rate, abs=0.01)
        assert GRAMMAR.entropies(4000)[3000:].mean() == pytest.approx(GRAMMAR.rate, abs=0.003)

    def test_no_shorter_memory_reaches_the_entropy(self):
        """Trigram statistics of the source itself stay far above it: the language has to be read from afar."""
        text = GRAMMAR.draw(200_000, np.random.default_rng(1))
        counts: dict[str, dict[str, int]] = {}
        for index in range(2, len(text)):
            seen = counts.setdefault(text[index - 2 : index], {})
            seen[text[index]] = seen.get(text[index], 0) + 1
        bits = sum(
            -count * math.log2(count / sum(seen.values())) for seen in counts.values() for count in seen.values()
        )
        assert bits / len(text) > ENTROPY + 0.15

    def test_it_is_about_eight_tenths_of_a_bit(self):
        assert 0.75 < GRAMMAR.rate < ENTROPY < 0.85

    def test_letters_that_cannot_come_are_infinitely_dear(self):
        assert math.isinf(GRAMMAR.bits("aqz")[1])
        assert np.isfinite(GRAMMAR.bits("a red ant runs.")).all()
        assert math.isinf(GRAMMAR.bits("a red ants ")[9])  # number does not agree

    @pytest.mark.parametrize(
        ("choices", "problem"),
        [
            ((Choice(word="ab", share=1.0, then="s"),), "mark"),
            ((Choice(word="a b ", share=1.0, then="s"),), "mark"),
            ((Choice(word="a ", share=0.4, then="s"),), "add up"),
            ((Choice(word="a ", share=0.5, then="s"),) * 2, "two meanings"),
            ((Choice(word="a ", share=1.0, then="t"),), "leads to no state"),
            ((Choice(word="a ", share=0.0, then="s"), Choice(word="b ", share=1.0, then="s")), "above 0"),
        ],
    )
    def test_a_grammar_whose_entropy_would_not_be_known_is_refused(self, choices, problem):
        with pytest.raises(SchemaError, match=problem):
            Grammar(start="s", states={"s": choices})
        with pytest.raises(SchemaError, match="no state 'q'"):
            Grammar(start="q", states=coin().states)


class TestSamples:
    def test_a_sample_shows_each_letter_the_one_before_it_and_asks_for_the_letter(self):
        split = encoded(["a red ant runs." + "the ape eats." * 4])
        shown = split.x[0].argmax(0)
        assert split.x.sum() == LETTERS or split.x.shape[2] == split.y.shape[1]
        assert ALPHABET[shown[0]] == "."
        assert np.array_equal(shown[1:], split.y[0, :-1])
        assert "".join(ALPHABET[letter] for letter in split.y[0]).startswith("a red ant")

    def test_the_task_is_the_same_every_time_and_its_samples_are_sound(self, task):
        assert task.sha256() == language().sha256()
        assert task.metric == "bits/char"
        assert task.train.x.shape == (2000, *INPUT.shape) and task.train.y.shape == (2000, LETTERS)

    def test_labels_of_another_length_are_refused(self, task):
        with pytest.raises(InputError, match="labels"):
            check_samples(task.gate.x, task.gate.y[:, :-1], spec=INPUT, classes=len(ALPHABET))

    def test_a_letter_that_never_comes_is_named_before_training(self, texts):
        cut = replace(texts, gate=Labelled(x=texts.gate.x, y=texts.gate.y.clamp_max(19)))
        with pytest.raises(InputError, match="class 20"):
            check_tensors(cut)


class TestFuture:
    @pytest.mark.parametrize("mode", [False, True])
    def test_a_changed_letter_changes_no_answer_before_it(self, mode):
        taught = preset("language").taught
        network = committed(host(), {0: "sliding-conv", 1: "adapter", 2: "mini-attention-causal", 3: "glu"}, seed=0)
        for part in (network.trunk, *(network.seed_at(slot).module for slot in range(4))):
            moved(part, seed=4)
        assert set(network.host.places) == {sequence(6, LETTERS, causal=True)} and "sliding-conv" in taught
        x = torch.from_numpy(draw(8, rng=np.random.default_rng(0)).x)
        network.train(mode)
        for step in (1, 17, LETTERS - 1):
            other = x.clone()
            other[:, :, step:] = x[:, :, step:].roll(1, 0)
            with torch.no_grad():
                before, after = network(x), network(other)
            assert torch.allclose(before[:, :, :step], after[:, :, :step], atol=1e-5)
            assert not torch.allclose(before[:, :, step:], after[:, :, step:], atol=1e-3)

    @pytest.mark.parametrize("name", ["mini-attention", "squeeze-excite", "wide-conv", "depthwise", "denoiser"])
    def test_seeds_that_look_ahead_are_refused_by_the_slot(self, name):
        with pytest.raises(IncompatibleError, match="looks ahead"):
            blueprints.get(name).check_fits(sequence(4, 9, causal=True))
        blueprints.get(name).check_fits(sequence(4, 9))

    def test_a_blueprint_that_claims_to_be_causal_and_is_not_is_found_out(self):
        liar = replace(blueprints.get("depthwise"), name="liar", causal=True, domains=frozenset({Domain.SEQUENCE}))
        with pytest.raises(IncompatibleError, match="said to be causal"):
            check_blueprint(liar)

    def test_every_blueprint_taught_here_is_causal(self):
        names = preset("language").taught
        assert [blueprint.name for blueprint in offered(host(), names)] == list(names)
        for name in names:
            assert blueprints.get(name).causal
            blueprints.get(name).check_fits(host().places[0])

    def test_only_a_sequence_can_be_causal(self):
        with pytest.raises(SchemaError, match="future"):
            replace(image(1, 2, 2), causal=True)


class TestTraining:
    SHORT = Episode(steps=32, decisions=8, consolidation_steps=8, batch=16, learning_rate=0.012, blend_windows=0.5)

    def test_a_sample_counts_once_with_the_mean_over_its_letters(self, texts):
        network = GrownNetwork(host(), lambda transition: None)
        found = score(network, texts.gate)
        with torch.no_grad():
            log_p = network.eval()(texts.gate.x).log_softmax(1)
        losses = -log_p.gather(1, texts.gate.y[:, None])[:, 0]
        assert found.correct.shape == found.sureness.shape == (250,)
        torch.testing.assert_close(-found.sureness.log(), losses.double().mean(1), rtol=1e-5, atol=1e-6)
        assert found.loss == pytest.approx(float(losses.mean()), rel=1e-5)
        assert found.accuracy == pytest.approx(float((log_p.argmax(1) == texts.gate.y).double().mean()))

    def test_one_answer_a_sample_is_counted_as_it_always_was(self):
        values = torch.tensor([0.2, 0.9])
        assert by_sample(values) is values and by_sample(values, log=True) is values

    def test_a_reading_agrees_with_plain_passes(self, texts):
        network = committed(host(), {0: "sliding-conv", 2: "adapter"}, seed=0)
        for slot in (0, 2):
            moved(network.seed_at(slot).module, seed=slot)
        trainer = Trainer(network, texts, self.SHORT, seed=0, planted=True)
        trainer.step()
        reading = read(network, trainer)
        for slot, seen in reading.slots.items():
            alphas = [0.0 if other == slot else alpha for other, alpha in enumerate(network.alphas())]
            absent = score(network, texts.gate, alphas)
            assert seen.absent.loss == pytest.approx(absent.loss, rel=1e-5)
            torch.testing.assert_close(seen.absent.sureness, absent.sureness, rtol=1e-4, atol=1e-6)
            assert 0 <= seen.functional_drift <= 1
        assert reading.scores.loss == pytest.approx(score(network, texts.gate).loss, rel=1e-5)

    def test_an_episode_grows_and_its_metric_is_bits_a_letter(self, texts):
        made, pricer = host(), Pricer(None)
        env = GrowthEnv(
            host=made,
            data=texts,
            config=self.SHORT,
            blueprints=offered(made, preset("language").taught),
            pricer=pricer,
            budget=pricer.default_budget(made.layers),
            seed=0,
        )
        first = score(env.network, texts.gate).loss
        outcome = play(env, KasminaMicro())
        assert score(env.network, texts.gate).loss < first
        assert 0 < outcome.accuracy < 1
        with torch.no_grad():
            logits = env.network.eval()(texts.test.x)
        bits = metrics.get("bits/char").of(logits.numpy(), texts.test.y.numpy())
        assert bits == pytest.approx(float(nn.functional.cross_entropy(logits, texts.test.y)) / math.log(2), rel=1e-5)

    def test_a_host_with_one_answer_a_sample_is_refused_before_training(self):
        with pytest.raises(UsageError, match="an answer at every"):
            check(replace(preset("language"), host="conv1d", taught=()))

    def test_a_host_with_an_answer_at_every_step_is_refused_for_a_task_with_one(self):
        with pytest.raises(UsageError, match="one answer a sample"):
            check(replace(preset("mnist1d"), host="causal1d", taught=()))

    def test_a_run_cannot_be_exported_and_says_so(self, monkeypatch):
        from types import SimpleNamespace

        run = SimpleNamespace(record=SimpleNamespace(task="language", config={}), grown_network=lambda: None)
        with pytest.raises(IncompatibleError, match="one answer a sample"):
            handover.pieces(run)

    def test_the_next_command_is_not_one_that_would_be_refused(self):
        assert handover.deployable(task_of("moons"))
        assert not handover.deployable(task_of("language"))
