"""Whole configurations out of pieces that were converted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from exporters.backends import tflite
from exporters.backends.flatbuffer import read_model
from exporters.backends.joining import join
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.interpreters import open_graph

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def pieces() -> list[tuple[nn.Module, bytes]]:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()).eval()
    middle = nn.Conv2d(4, 4, 1).eval()
    head = nn.Sequential(nn.Flatten(1), nn.Linear(4 * 5 * 5, 3)).eval()
    value, found = torch.rand(1, 2, 5, 5), []
    for index, piece in enumerate((stem, middle, head)):
        found.append((piece, tflite.convert(piece, value, name=f"piece{index}")))
        value = piece(value)
    return found


def answer(data: bytes, x: np.ndarray) -> np.ndarray:
    runner = open_graph(data, read_model(data).graph("net.tflite"))
    return runner.run([x])[0]


@pytest.mark.parametrize("chain", [(0,), (0, 2), (0, 1, 2), (0, 1, 1, 1, 2)])
def test_a_joined_file_computes_what_its_chain_does(
    pieces: list[tuple[nn.Module, bytes]], chain: tuple[int, ...]
) -> None:
    data = join([pieces[i][1] for i in chain], name="net")
    model = read_model(data)
    assert [item.code for item in model.operators] == [
        o.code for i in chain for o in read_model(pieces[i][1]).operators
    ]
    names = [tensor.name for item in model.operators for tensor in item.outputs]
    assert len(names) == len(set(names))
    x = torch.rand(1, 2, 5, 5)
    wanted, value = x, tflite.channels_last(x).numpy()
    for i in chain:
        wanted, value = pieces[i][0](wanted), answer(pieces[i][1], value)
    found = answer(data, tflite.channels_last(x).numpy())
    assert np.array_equal(found, value)
    assert np.abs(found - tflite.channels_last(wanted).detach().numpy()).max() < 1e-5


def test_pieces_that_do_not_fit_are_refused(pieces: list[tuple[nn.Module, bytes]]) -> None:
    with pytest.raises(TamiyoError, match=r"net: a piece gives \[1, 3\], the next takes \[1, 5, 5, 4\]"):
        join([pieces[2][1], pieces[1][1]], name="net")


def test_the_same_pieces_give_the_same_bytes(pieces: list[tuple[nn.Module, bytes]]) -> None:
    files = [data for _, data in pieces]
    assert join(files, name="a") == join(files, name="b")
