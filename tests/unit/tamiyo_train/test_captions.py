"""Images and captions: what is held out never trains, a caption's place tells nothing, and no export is promised."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.errors import IncompatibleError, UsageError
from tamiyo_train import handover
from tamiyo_train.blueprints.check import moved
from tamiyo_train.data import labelled, task_of
from tamiyo_train.experiment import check
from tamiyo_train.hosts import hosts
from tamiyo_train.jobs import offered
from tamiyo_train.metrics import metrics
from tamiyo_train.presets import preset
from tamiyo_train.seeding import initialising
from tamiyo_train.static import committed
from tamiyo_train.tasks.captions import GALLERY, INPUT, NEW, PIXELS, captions, draw
from tamiyo_train.tasks.captions.scenes import (
    COLOURS,
    COUNTS,
    EVERY,
    SEEN,
    SHAPES,
    SIDE,
    SIZES,
    UNSEEN,
    attributes,
    drawn,
    held_out,
)
from tamiyo_train.tasks.captions.sentences import LENGTH, WORDS, said, text


def captions_of(split) -> np.ndarray:
    return split.x[:, PIXELS:].reshape(len(split), GALLERY, LENGTH).astype(int)


def meaning_of(caption) -> tuple[int, ...]:
    """What a caption says, read anew: by its words, whatever their order."""
    second = {
        "crimson": "red", "emerald": "green", "navy": "blue", "golden": "yellow", "violet": "purple",
        "turquoise": "cyan", "disc": "circle", "box": "square", "wedge": "triangle", "plus": "cross", "hoop": "ring",
        "tiny": "small", "middling": "medium", "big": "large", "top": "upper", "bottom": "lower", "western": "left",
        "eastern": "right",
    }  # fmt: skip
    words = {second.get(word, word) for word in text(caption).split()}
    values = (COLOURS, SHAPES, SIZES, ("upper", "lower"), ("left", "right"))
    found = [[number for number, word in enumerate(value) if word in words] for value in values]
    assert all(len(one) == 1 for one in found), text(caption)
    colour, shape, size, row, column = (one[0] for one in found)
    return colour, shape, size, 2 * row + column


def network(topology=None, *, seed: int = 4):
    with initialising(seed):
        host = hosts.get("pairs")(shape=INPUT.shape, classes=GALLERY, width=3)
    made = committed(host, topology or {}, seed=0)
    for slot in topology or {}:
        moved(made.seed_at(slot).module, seed=slot)
    return made.eval()


class TestScenes:
    def test_a_third_of_the_combinations_is_held_out_and_every_colour_and_shape_is_seen_in_others(self):
        assert (len(EVERY), len(SEEN), len(UNSEEN)) == (360, 240, 120)
        seen = {(int(c), int(s)) for c, s in zip(*attributes(SEEN)[:2], strict=True)}
        unseen = {(int(c), int(s)) for c, s in zip(*attributes(UNSEEN)[:2], strict=True)}
        assert len(seen) == 20 and len(unseen) == 10 and not seen & unseen
        for part in (seen, unseen):
            assert {c for c, _ in part} == set(range(6)) and {s for _, s in part} == set(range(5))

    def test_a_shape_lies_in_its_quadrant_in_its_colour_and_is_as_large_as_said(self):
        rng = np.random.default_rng(0)
        ink = np.zeros((3, 50))
        for size in range(3):
            for draw_number in range(50):
                quadrant = draw_number % 4
                meaning = int(np.ravel_multi_index((0, 0, size, quadrant), COUNTS))
                red, green, _ = drawn(meaning, rng=rng)
                row, column = np.argwhere(red - green > 100).mean(axis=0)
                assert (row > SIDE / 2 - 0.5, column > SIDE / 2 - 0.5) == (quadrant >= 2, quadrant % 2 == 1)
                ink[size, draw_number] = (red - green > 100).sum()
        assert ink[0].max() < ink[1].mean() < ink[2].min()

    def test_the_nearest_clean_image_tells_every_shape_in_a_colour_apart(self):
        """Levels are noisy, but shapes of one colour, size and quadrant differ by more than they vary."""
        rng = np.random.default_rng(1)
        meanings = [int(np.ravel_multi_index((2, shape, 2, 0), COUNTS)) for shape in range(5)]
        means = np.stack([np.mean([drawn(meaning, rng=rng) for _ in range(60)], axis=0) for meaning in meanings])
        right = [
            int(((drawn(meaning, rng=rng) - means) ** 2).sum(axis=(1, 2, 3)).argmin() == number)
            for number, meaning in enumerate(meanings)
            for _ in range(20)
        ]
        assert np.mean(right) > 0.9


class TestSentences:
    def test_every_caption_says_its_meaning_and_nothing_else(self):
        meanings = np.tile(EVERY, 4)
        made = said(meanings, rng=np.random.default_rng(0))
        expected = np.stack(attributes(meanings), 1).tolist()
        assert [list(meaning_of(caption)) for caption in made] == expected
        assert made.min() >= 0 and made.max() < len(WORDS) and WORDS[0] == ""
        assert len({text(caption).split()[0] for caption in made}) > 3  # in several ways


class TestTask:
    def test_nothing_trained_or_judged_on_while_growing_is_of_a_held_out_combination(self):
        task = captions()
        for name, split in task.splits().items():
            found = {meaning_of(caption) for gallery in captions_of(split)[:40] for caption in gallery}
            numbers = np.array([np.ravel_multi_index(meaning, COUNTS) for meaning in found])
            assert held_out(numbers).all() if name == "test" else not held_out(numbers).any()
        assert task.sha256() == task_of("captions").sha256() and task.metric == "recall@1"
        assert set(Counter(task.gate.y.tolist()).values()) == {5}

    def test_a_gallery_has_the_image_s_own_caption_once_and_others_of_other_meanings(self):
        for name in ("train", "test", NEW):
            split = draw(name, 6)
            for image, gallery, place in zip(split.x[:, :PIXELS], captions_of(split), split.y, strict=True):
                found = [meaning_of(caption) for caption in gallery]
                assert len(set(found)) == GALLERY
                quadrant = found[place][3]
                shown = image.reshape(3, SIDE, SIDE).astype(float)
                far = abs(shown - np.median(shown, axis=(1, 2), keepdims=True)).sum(axis=0)
                row, column = np.argwhere(far > 150).mean(axis=0)
                assert 2 * (row > 7.5) + (column > 7.5) == quadrant

    def test_a_sample_follows_from_split_and_number_alone(self):
        few, many = draw("gate", 3), draw("gate", 9)
        assert np.array_equal(few.x, many.x[:3])
        assert not np.array_equal(few.x, draw("score", 3).x)
        assert not np.array_equal(draw("train", 3).x, draw(NEW, 3).x)


class TestHost:
    @pytest.mark.parametrize(
        "topology", [{}, {0: "cross-attention", 1: "latent-align", 2: "cross-attention-single"}, {2: "latent-align"}]
    )
    def test_captions_in_another_order_give_the_same_logits_in_that_order(self, topology):
        made, split = network(topology), labelled(draw("gate", 7), INPUT)
        order = torch.randperm(GALLERY, generator=torch.Generator().manual_seed(1))
        words = split.x[:, PIXELS:].reshape(7, GALLERY, LENGTH)[:, order].flatten(1)
        with torch.no_grad():
            plain = made(split.x)
            shuffled = made(torch.cat([split.x[:, :PIXELS], words], 1))
        torch.testing.assert_close(shuffled, plain[:, order], rtol=1e-4, atol=1e-4)
        assert float(plain.std(1).min()) > 0.01

    def test_unknown_words_count_for_nothing(self):
        made, split = network(), labelled(draw("gate", 2), INPUT)
        blank = split.x[:, PIXELS:] == 0
        other = split.x.clone()
        other[:, PIXELS:][blank] = 1.0  # word 255, of which there is none
        with torch.no_grad():
            torch.testing.assert_close(made(other), made(split.x))

    def test_samples_of_another_task_are_refused(self):
        with pytest.raises(UsageError, match="an image and captions"):
            check(replace(preset("moons"), host="pairs"))

    def test_what_is_offered_fits_pairs(self):
        host = network().host
        names = [blueprint.name for blueprint in offered(host, preset("captions").taught)]
        assert names == ["no-op", "cross-attention", "latent-align"]
        assert host.places[0].shape == (2, 12, GALLERY)

    def test_a_host_that_has_learned_nothing_is_at_chance(self):
        split = labelled(draw("test", 400), INPUT)
        with torch.no_grad():
            logits = network()(split.x).numpy()
        assert metrics.get("recall@1").of(logits, split.y.numpy()) < 0.06


def test_a_run_cannot_be_exported_and_says_so():
    run = SimpleNamespace(record=SimpleNamespace(task="captions", config={}), grown_network=lambda: None)
    with pytest.raises(IncompatibleError, match="gallery of captions"):
        handover.pieces(run)
    assert not handover.deployable(task_of("captions"))
