"""The tests' own memory of conversions: it must never answer for something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.remembering import remembered


def counted() -> tuple[Any, list[object]]:
    calls: list[object] = []

    def work(*arguments: object, **rest: object) -> list[int]:
        calls.append((arguments, rest))
        return [len(calls)]

    return remembered(work), calls


def net(weight: float = 1.0, mean: float = 0.0) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    with torch.no_grad():
        module[0].weight.fill_(weight)  # type: ignore[union-attr]  # a linear layer has one
        module[0].bias.fill_(0.0)  # type: ignore[union-attr]
        module[1].running_mean.fill_(mean)  # type: ignore[union-attr]
    return module


def test_the_same_contents_are_worked_on_once_and_the_answer_is_a_copy() -> None:
    call, calls = counted()
    first = call(net(), torch.zeros(1, 2), name="a")
    first.append("changed by its owner")
    assert call(net(), torch.ones(1, 2), name="a") == [1]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [
        ((net(weight=2.0), torch.zeros(1, 2)), {"name": "a"}),
        ((net(mean=0.5), torch.zeros(1, 2)), {"name": "a"}),
        ((net(), torch.zeros(1, 3)), {"name": "a"}),
        ((net(), torch.zeros(1, 2)), {"name": "b"}),
        ((nn.Sequential(net(), nn.ReLU()), torch.zeros(1, 2)), {"name": "a"}),
        ((b"file", {"x": (0.0, 1.0)}, np.zeros(3)), {"name": "a"}),
    ],
)
def test_anything_else_is_worked_on(arguments: tuple[object, ...], rest: dict[str, object]) -> None:
    call, _ = counted()
    call(net(), torch.zeros(1, 2), name="a")
    call(b"file", {"x": (0.0, 1.0)}, np.ones(3), name="a")
    assert call(*arguments, **rest) == [3]


def test_what_cannot_be_told_by_content_is_never_remembered() -> None:
    class Local(nn.Module):
        pass

    call, calls = counted()
    call(Local(), torch.zeros(1, 2))
    call(Local(), torch.zeros(1, 2))
    assert len(calls) == 2
