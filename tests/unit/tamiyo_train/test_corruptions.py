"""Corruptions: named levels, draws with an address, and each one doing what its name says at both sizes."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError
from tamiyo_train.corruptions import SEVERITIES, corrupted, corruptions
from tamiyo_train.corruptions.base import Corruption
from tamiyo_train.corruptions.light import MUD, cloud
from tamiyo_train.corruptions.sampling import mapped, sampled, smoothed
from tamiyo_train.corruptions.sheet import png, sheet
from tamiyo_train.corruptions.strokes import outline
from tamiyo_train.data import task_of
from tamiyo_train.tasks import digits_c
from tamiyo_train.tasks.digits import digits

MNIST_C = {
    *("shot-noise", "impulse-noise", "glass-blur", "motion-blur", "shear", "scale", "rotate", "brightness"),
    *("translate", "stripe", "fog", "spatter", "dotted-line", "zigzag", "canny-edges"),
}
SIZES = (8, 28)


def bars(size: int, count: int = 40) -> np.ndarray:
    """Images with one upright bar each, as thick as a digit's stroke, near the middle."""
    images = np.zeros((count, size, size), np.float32)
    for index in range(count):
        left = size // 2 - size // 8 + index % 2
        images[index, size // 8 : size - size // 8, left : left + max(1, size // 8)] = 1
    return images


def change(images, name, severity) -> float:
    return float(np.abs(corrupted(images, name, severity, seed=3) - images).mean())


def test_the_corruptions_are_the_fifteen_of_mnist_c():
    assert set(corruptions.names()) == MNIST_C


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", sorted(MNIST_C))
def test_a_corruption_is_harder_with_severity_stays_in_range_and_leaves_its_input_alone(name, size):
    images = bars(size)
    before = images.copy()
    changes = [change(images, name, severity) for severity in SEVERITIES]
    assert changes[0] > 0
    if name in {"shear", "translate"}:  # far enough, part of the bar leaves the image
        assert changes[4] > 1.5 * changes[0]
    else:
        assert changes == sorted(changes)
    made = corrupted(images, name, 5, seed=3)
    assert made.dtype == np.float32 and made.shape == images.shape
    assert made.min() >= 0 and made.max() <= 1
    assert np.array_equal(images, before)


@pytest.mark.parametrize("name", sorted(MNIST_C))
def test_what_an_image_becomes_depends_on_its_address_alone(name):
    images = bars(8, 6)
    whole = corrupted(images, name, 3, seed=7)
    for row in (4, 1):
        assert np.array_equal(corrupted(images[row : row + 1], name, 3, seed=7, numbers=[row])[0], whole[row])


def test_another_seed_or_number_draws_something_else():
    image = bars(28, 1)
    one = corrupted(image, "shot-noise", 3, seed=7)
    assert not np.array_equal(one, corrupted(image, "shot-noise", 3, seed=8))
    assert not np.array_equal(one, corrupted(image, "shot-noise", 3, seed=7, numbers=[1]))


def test_bad_requests_are_refused_by_name():
    images = bars(8, 2)
    with pytest.raises(UnknownNameError) as caught:
        corrupted(images, "fogg", 1, seed=0)
    assert caught.value.near == ("fog",)
    for severity in (0, 6):
        with pytest.raises(SchemaError, match="severity"):
            corrupted(images, "fog", severity, seed=0)
    for bad in (16 * images, images - 1, np.full_like(images, np.nan)):
        with pytest.raises(InputError, match=r"0\.\.1"):
            corrupted(bad, "fog", 1, seed=0)
    with pytest.raises(SchemaError, match="levels"):
        Corruption(name="x", parameter="y", levels=(1, 2), change=lambda image, level, rng: image)


class TestSampling:
    def test_reading_at_the_pixels_gives_the_image_and_between_them_the_mean(self):
        image = np.random.default_rng(0).random((5, 6))
        rows, columns = np.indices(image.shape, dtype=np.float64)
        assert np.allclose(sampled(image, rows, columns), image)
        halfway = sampled(image, rows, columns + 0.5)
        assert np.allclose(halfway[:, :-1], (image[:, :-1] + image[:, 1:]) / 2)
        assert np.allclose(sampled(image, rows + 100, columns), 0)

    def test_a_quarter_turn_is_that_of_numpy(self):
        image = np.random.default_rng(0).random((7, 7))
        assert np.allclose(mapped(image, np.array([[0, 1], [-1, 0]])), np.rot90(image))

    def test_smoothing_keeps_the_mean_of_a_flat_image_and_spreads_a_dot_as_a_gaussian(self):
        assert np.allclose(smoothed(np.full((6, 6), 0.3), 1.5), 0.3)
        dot = np.zeros((41, 41))
        dot[20, 20] = 1
        spread = smoothed(dot, 2.0)
        rows = np.arange(41) - 20
        assert spread.sum() == pytest.approx(1)
        assert float((spread.sum(1) * rows**2).sum()) == pytest.approx(4.0, rel=0.02)
        assert smoothed(dot, 0.0) is dot


class TestLaws:
    """Each against the figure that its parameter names."""

    def test_shot_noise_has_the_mean_and_variance_of_counted_photons(self):
        grey = np.full((50, 28, 28), 0.5, np.float32)
        made = corrupted(grey, "shot-noise", 1, seed=0).astype(np.float64)
        assert made.mean() == pytest.approx(0.5, abs=0.003)
        assert made.var() == pytest.approx(0.5 / 60, rel=0.05)

    def test_impulse_noise_strikes_the_stated_share_half_of_it_white(self):
        grey = np.full((50, 28, 28), 0.5, np.float32)
        made = corrupted(grey, "impulse-noise", 4, seed=0)
        assert float((made == 1).mean()) == pytest.approx(0.085, abs=0.005)
        assert float((made == 0).mean()) == pytest.approx(0.085, abs=0.005)

    def test_brightness_adds_what_it_says(self):
        assert np.allclose(corrupted(np.zeros((1, 8, 8), np.float32), "brightness", 3, seed=0), 0.3)

    def test_scale_shrinks_the_ink_by_the_square_of_the_size(self):
        square = np.zeros((1, 28, 28), np.float32)
        square[0, 6:22, 6:22] = 1
        made = corrupted(square, "scale", 5, seed=0)
        assert float(made.sum() / square.sum()) == pytest.approx(0.25, abs=0.02)

    def test_translate_moves_the_centre_of_the_ink_along_both_axes(self):
        dot = np.zeros((20, 28, 28), np.float32)
        dot[:, 14, 14] = 1
        made = corrupted(dot, "translate", 4, seed=0)
        places = {tuple(np.argwhere(image == image.max())[0] - 14) for image in made}
        assert places == {(4, 4), (4, -4), (-4, 4), (-4, -4)}

    def test_rotate_turns_by_the_stated_angle_to_both_sides(self):
        bar = np.zeros((20, 28, 28), np.float32)
        bar[:, 4:24, 13:15] = 1
        rows, columns = np.indices((28, 28)) - 13.5
        angles = []
        for image in corrupted(bar, "rotate", 2, seed=0):
            moments = [(image * a * b).sum() for a, b in ((rows, rows), (columns, columns), (rows, columns))]
            angles.append(0.5 * np.arctan2(2 * moments[2], moments[0] - moments[1]))
        assert np.allclose(np.abs(angles), 0.4, atol=0.01)
        assert min(angles) < 0 < max(angles)

    def test_stripe_inverts_both_edges_and_nothing_between(self):
        made = corrupted(np.zeros((1, 28, 28), np.float32), "stripe", 3, seed=0)[0]
        assert (made[:, :7] == 1).all() and (made[:, 21:] == 1).all() and (made[:, 7:21] == 0).all()
        coarse = corrupted(np.zeros((1, 8, 8), np.float32), "stripe", 3, seed=0)[0]
        assert np.allclose(coarse[0], [1, 1, 0, 0, 0, 0, 1, 1])

    def test_spatter_covers_the_stated_share_with_mud(self):
        made = corrupted(np.zeros((20, 28, 28), np.float32), "spatter", 3, seed=0)
        assert set(np.unique(made)) == {np.float32(0), np.float32(MUD)}
        assert float((made > 0).mean()) == pytest.approx(0.15, abs=0.005)

    def test_a_cloud_reaches_from_nothing_to_full(self):
        found = cloud((28, 28), np.random.default_rng(0))
        assert found.min() == 0 and found.max() == pytest.approx(1)

    @pytest.mark.parametrize("name", ["dotted-line", "zigzag"])
    def test_a_stroke_only_adds_ink_and_a_dotted_one_leaves_columns_free(self, name):
        made = corrupted(np.zeros((10, 28, 28), np.float32), name, 3, seed=0)
        assert (made.max(axis=(1, 2)) > 0.9).all()
        free = (made == 0).all(axis=1).mean()
        assert free == pytest.approx(0.5 if name == "dotted-line" else 4 / 28, abs=0.1)

    def test_the_outline_of_a_square_is_one_pixel_thick_and_where_its_border_is(self):
        square = np.zeros((28, 28))
        square[8:20, 8:20] = 1
        found = outline(square)
        inner = np.zeros_like(square, bool)
        inner[6:22, 6:22], inner[10:18, 10:18] = True, False
        assert set(np.unique(found)) == {0.0, 1.0}
        assert (found[~inner] == 0).all()
        assert found[14].sum() == 2  # once in, once out
        assert not outline(np.full((8, 8), 0.4)).any()

    def test_a_faint_edge_counts_only_where_it_hangs_on_to_a_strong_one(self):
        image = np.zeros((28, 28))
        image[:, 14:] = np.linspace(1, 0.12, 28)[:, None]  # one long edge that fades
        apart = np.zeros((28, 28))
        apart[:6, 14:] = 1
        apart[20:, 14:] = 0.12
        assert outline(image)[25].any()
        assert not outline(apart)[24:].any()


class TestTask:
    def test_the_test_set_is_every_test_digit_under_every_corruption(self):
        clean, task = digits(), task_of("digits-c")
        assert len(task.test) == 15 * len(clean.test)
        parts = digits_c.tests(clean, digits_c.SEVERITY)
        assert tuple(parts) == corruptions.names()
        assert np.array_equal(np.concatenate([part.x for part in parts.values()]), task.test.x)

    def test_it_trains_on_the_clean_digits_and_on_those_corruptions_that_are_listed_and_no_other(self):
        clean, task = digits(), task_of("digits-c")
        kinds = digits_c.TRAINED_ON
        copies = np.split(task.train.x, digits_c.DRAWS * (1 + len(kinds)))
        assert all(np.array_equal(copy, clean.train.x) for copy in copies[: digits_c.DRAWS])
        for kind, copy in zip(kinds, copies[digits_c.DRAWS :], strict=False):
            shown = corrupted(clean.train.x[:, 0] / 16, kind, digits_c.SEVERITY, seed=2500)
            assert np.allclose(copy[:, 0], 16 * shown, atol=1e-5)
        first, second = copies[digits_c.DRAWS + 1], copies[digits_c.DRAWS + len(kinds) + 1]
        assert kinds[1] == "fog" and not np.array_equal(first, second)  # another draw
        assert len(digits_c.TRAINED_ON) < 15 / 2

    def test_gates_and_score_see_each_digit_once_clean_or_under_what_is_trained_on(self):
        clean, task = digits(), task_of("digits-c")
        for name in ("gate", "score"):
            before, after = clean.splits()[name], task.splits()[name]
            assert np.array_equal(before.y, after.y)
            same = (before.x == after.x).all(axis=(1, 2, 3))
            assert same[::6].all() and same.mean() < 0.25

    def test_images_of_several_channels_are_refused(self):
        from dataclasses import replace

        clean = digits()
        coloured = replace(clean, input=replace(clean.input, shape=(3, 8, 8)))
        with pytest.raises(SchemaError, match="channels"):
            digits_c.of_images(coloured, name="x", severity=1)


class TestSheet:
    def test_a_png_holds_the_pixels_inverted(self):
        image = np.array([[0.0, 1.0, 0.5], [0.2, 0.0, 1.0]])
        data = png(image)
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        assert (width, height, depth, colour) == (3, 2, 8, 0)
        body = data[data.index(b"IDAT") + 4 :]
        lines = zlib.decompress(body[: body.index(b"IEND") - 8])
        assert lines == bytes([0, 255, 0, 128, 0, 204, 255, 0])

    def test_the_sheet_is_an_svg_with_a_picture_for_every_severity(self):
        root = ET.fromstring(sheet(bars(8, 1)[0]))
        space = "{http://www.w3.org/2000/svg}"
        assert len(root.findall(f"{space}image")) == 15 * 6
        assert {text.text for text in root.findall(f"{space}text")} == {*MNIST_C, "clean", *"12345"}
