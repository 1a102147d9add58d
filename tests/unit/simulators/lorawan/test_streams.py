from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.lorawan.streams import Blocks, Purpose, normals, philox, uniforms

seeds = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # Random123, tests/kat_vectors, philox4x32 10
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_gives_the_known_answers_of_its_authors(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    c0, c1, c2, c3 = (np.array([word], np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox((c0, c1, c2, c3), key)) == expected


@given(seeds, st.sampled_from(Purpose), st.integers(1, 40_000), st.integers(0, 2**32 - 2))
def test_a_draw_depends_on_its_address_and_not_on_the_batch(seed: int, purpose: Purpose, size: int, at: int) -> None:
    devices = np.arange(size)
    one, two = uniforms(seed, purpose, devices, at)
    last = uniforms(seed, purpose, size - 1, at)
    assert (one[-1], two[-1]) == (float(last[0]), float(last[1]))
    normal = normals(seed, purpose, devices, at)
    assert normal[-1] == normals(seed, purpose, [size - 1, 3], at)[0]


@given(seeds, st.integers(1, 9), st.integers(0, 200))
def test_blocks_give_the_same_draws_one_at_a_time(seed: int, devices: int, index: int) -> None:
    blocks = Blocks(devices, lambda device, at: np.stack(uniforms(seed, Purpose.CHANNEL, device, at)))
    one, two = uniforms(seed, Purpose.CHANNEL, devices - 1, index)
    assert blocks.at(devices - 1, index) == float(one)
    assert blocks.at(devices - 1, index, 1) == float(two)


def test_draws_are_uniform_normal_and_independent_enough() -> None:
    one, two = uniforms(1, Purpose.GAP, np.arange(1000)[:, None], np.arange(100))
    for draw in (one, two):
        assert 0 <= draw.min() < 1e-4
        assert 1 - 1e-4 < draw.max() < 1
        assert draw.mean() == pytest.approx(0.5, abs=4 * (1 / 12e5) ** 0.5)
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.015
    assert abs(np.corrcoef(one[:-1].ravel(), one[1:].ravel())[0, 1]) < 0.015
    normal = normals(1, Purpose.SHADOW_LINK, np.arange(100_000), 0)
    assert normal.mean() == pytest.approx(0, abs=0.013)
    assert normal.std() == pytest.approx(1, abs=0.01)


def test_seed_purpose_and_gateway_each_make_another_stream() -> None:
    base = uniforms(1, Purpose.GAP, 5, 5)[0]
    others = [
        uniforms(2, Purpose.GAP, 5, 5)[0],
        uniforms(1 + (1 << 32), Purpose.GAP, 5, 5)[0],
        uniforms(1, Purpose.PHASE, 5, 5)[0],
        uniforms(1, Purpose.GAP, 5, 5, salt=1)[0],
    ]
    assert len({float(draw) for draw in (base, *others)}) == 5
