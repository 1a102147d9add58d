"""A hand-made network that never saw the training side: 6 x 6 images, four classes, three slots, two of them filled."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from exporters.request import ExportRequest, PolicyModule, SeedModule
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.observation import Heads, observation_size

CLASSES = ("upper left", "upper right", "lower left", "lower right")
BLUEPRINTS = ("no-op", "adapter", "squeeze-excite")
SLOTS = 3
CHANNELS = 8
SPEC = InputSpec(shape=(1, 6, 6), layout="CHW", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0)


class Adapter(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(torch.relu(self.down(x)))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * (2 * torch.sigmoid(self.up(torch.relu(self.down(pooled)))))


class Head(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels * 9, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(torch.max_pool2d(x, 2).flatten(1))


def images(count: int, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noise with a bright patch in one quadrant; raw values 0..16."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, (count, 1, 6, 6)).astype(np.float32)
    y = rng.integers(0, 4, count)
    for image, label in zip(x, y, strict=True):
        row, column = 3 * (label // 2) + rng.integers(0, 2), 3 * (label % 2) + rng.integers(0, 2)
        image[0, row : row + 2, column : column + 2] += rng.integers(3, 8)
    return x.clip(0, 16), y.astype(np.int64)


def modules() -> tuple[list[nn.Module], list[SeedModule]]:
    """Untrained pieces: trunk of four for three slots, seeds in slots 0 and 2."""
    torch.manual_seed(7)
    stem = nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU())
    depthwise = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS), nn.ReLU())
    pointwise = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU())
    seeds = [
        SeedModule(slot=0, blueprint="adapter", module=Adapter(CHANNELS, 4)),
        SeedModule(slot=2, blueprint="squeeze-excite", module=SqueezeExcite(CHANNELS, 4)),
    ]
    return [stem, depthwise, pointwise, Head(CHANNELS)], seeds


def tiny_request(*, steps: int = 120, policy: bool = True) -> ExportRequest:
    """A trained request; the same on every call."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same weights in every process
    trunk, seeds = modules()
    x, y = images(640, seed=1)
    at = {seed.slot: seed.module for seed in seeds}
    everything = nn.ModuleList([*trunk, *at.values()]).train()
    optimiser = torch.optim.Adam(everything.parameters(), 5e-3)
    rng = np.random.default_rng(3)
    for _ in range(steps):
        rows = rng.integers(0, 512, 64)
        value = torch.from_numpy(x[rows] / 16)
        for slot, piece in enumerate(trunk):
            value = piece(value)
            if slot in at and rng.random() < 0.6:
                value = at[slot](value)
        loss = nn.functional.cross_entropy(value, torch.from_numpy(y[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    everything.eval()
    torch.set_num_threads(threads)
    return ExportRequest(
        name="quadrants",
        task="quadrants",
        classes=CLASSES,
        input=SPEC,
        trunk=trunk,
        seeds=seeds,
        calibration=x[:64],
        test_inputs=x[512:],
        test_labels=y[512:],
        policy=_policy() if policy else None,
        provenance={"made by": "hand"},
    )


def _policy() -> PolicyModule:
    torch.manual_seed(11)
    size = observation_size(SLOTS)
    heads = Heads(SLOTS, len(BLUEPRINTS)).size
    module = nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, heads)).eval()
    samples = np.random.default_rng(5).standard_normal((12, size)).astype(np.float32)
    return PolicyModule(module=module, samples=samples, blueprints=BLUEPRINTS)
