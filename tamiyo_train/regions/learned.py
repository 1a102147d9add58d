"""An allocator that learned from comparing splits of the same episodes: what a split is worth, and the best of many.

    region's telemetry, its share --(shared)--> code --mean over regions--+
    code, mean --(shared)--> worth of the region, averaged: worth of the split

Episodes are played in groups that differ in nothing but their splits, drawn at random. The network is fitted to how far
an episode's utility lies above its group's mean, from each of its splits and what was seen before it, centred by group
as well: what host, task and budget are worth cancels out. A split is never judged by what was seen after it, which
would explain its effect away. To decide, all splits of a grid are asked about.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn

from tamiyo_train.regions.telemetry import FEATURES
from tamiyo_train.seeding import initialising

Tensor = torch.Tensor
_WIDTH = 32
_MOST_CANDIDATES = 100
TOTALS = (1.0, 0.6)
"""How much of what is left a candidate hands out; the rest is for later splits."""


class SplitWorth(nn.Module):
    """Worth of splits: telemetry (N, R, features) and shares (N, R) to (N,), in deviations of utility."""

    mean: Tensor
    inverse_deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(FEATURES)))
        self.register_buffer("inverse_deviation", torch.ones(len(FEATURES)))
        self.region = nn.Linear(len(FEATURES) + 1, _WIDTH)
        self.together = nn.Linear(2 * _WIDTH, _WIDTH)
        self.worth = nn.Linear(_WIDTH, 1)

    def forward(self, telemetry: Tensor, shares: Tensor) -> Tensor:
        """Worth, up to what does not depend on the split."""
        x = ((telemetry.float() - self.mean) * self.inverse_deviation).clamp(-4.0, 4.0)
        code = torch.relu(self.region(torch.cat([x, 2 * shares.float()[..., None] - 1], -1)))
        mean = code.mean(1, keepdim=True).expand_as(code)
        worth: Tensor = self.worth(torch.relu(self.together(torch.cat([code, mean], -1))))[..., 0].mean(1)
        return worth


class Learned:
    """Takes the split of the grid that the network thinks most of."""

    name = "learned"

    def __init__(self, network: SplitWorth) -> None:
        self._network = network.eval()

    def to(self, device: torch.device | str) -> Learned:
        """The same on another device."""
        network = SplitWorth()
        network.load_state_dict(self._network.state_dict())
        return Learned(network.to(device))

    @torch.no_grad()
    def shares(self, telemetry: Tensor) -> Tensor:
        """The best candidate of each host, (N, R)."""
        lanes, regions = telemetry.shape[:2]
        candidates = grid(regions).to(telemetry.device)
        worth = torch.stack([self._network(telemetry, each.expand(lanes, -1)) for each in candidates], 1)
        return candidates[worth.argmax(1)]


def grid(regions: int) -> Tensor:
    """Candidate splits, (C, R) float64: every way to hand out `TOTALS` in equal parts, ten or as many as stay few."""
    parts = next(count for count in range(10, 0, -1) if count == 1 or _ways(count, regions) <= _MOST_CANDIDATES)
    bars = itertools.combinations(range(parts + regions - 1), regions - 1)
    rows = [[b - a - 1 for a, b in itertools.pairwise((-1, *chosen, parts + regions - 1))] for chosen in bars]
    whole = torch.tensor(rows, dtype=torch.float64) / parts
    return torch.cat([total * whole for total in TOTALS])


def _ways(parts: int, regions: int) -> int:
    ways = 1
    for index in range(1, regions):
        ways = ways * (parts + index) // index
    return ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Groups of episodes: ``telemetry`` (G, E, T, R, features), ``shares`` (G, E, T, R), ``utility`` (G, E)."""

    telemetry: Tensor
    shares: Tensor
    utility: Tensor

    def __len__(self) -> int:
        return len(self.utility)

    def rows(self, index: Tensor) -> Lesson:
        """Some of the groups."""
        return Lesson(telemetry=self.telemetry[index], shares=self.shares[index], utility=self.utility[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """How the network is fitted; ``held_out``: share of the groups that only say when to stop."""

    steps: int = 1500
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    held_out: float = 0.2
    every: int = 50


def centred(lesson: Lesson, network: SplitWorth) -> tuple[Tensor, Tensor]:
    """Differences from the group's mean: what each split predicts, (G, E, T), and the episode's own, (G, E, 1)."""
    worth = network(lesson.telemetry.flatten(0, 2), lesson.shares.flatten(0, 2)).reshape(lesson.shares.shape[:3])
    true = (lesson.utility - lesson.utility.mean(1, keepdim=True)).float()
    return worth - worth.mean(1, keepdim=True), true[..., None]


def teach(lessons: list[Lesson], *, config: Teaching, seed: int) -> tuple[SplitWorth, float]:
    """Fit a network to lessons, one a family; and the share of held-out variance that the first split alone explains.

    At the first split all episodes of a group look alike, so that nothing else can. Of all steps' networks the one that
    explains most of it on the groups held out is kept.
    """
    rng = torch.Generator().manual_seed(seed)
    with initialising(seed):
        network = SplitWorth()
    flat = torch.cat([lesson.telemetry.flatten(0, 3) for lesson in lessons]).float()
    deviation = flat.std(0)
    network.mean.copy_(flat.mean(0))
    network.inverse_deviation.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 1.0))
    scales = [float((lesson.utility - lesson.utility.mean(1, keepdim=True)).std()) for lesson in lessons]
    orders = [torch.randperm(len(lesson), generator=rng) for lesson in lessons]
    cuts = [round(len(lesson) * config.held_out) for lesson in lessons]
    held = [lesson.rows(order[:cut]) for lesson, order, cut in zip(lessons, orders, cuts, strict=True)]
    kept = [lesson.rows(order[cut:]) for lesson, order, cut in zip(lessons, orders, cuts, strict=True)]
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    best, state = 0.0, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(1, config.steps + 1):
        errors = []
        for lesson, scale in zip(kept, scales, strict=True):
            rows = torch.randint(len(lesson), (config.batch,), generator=rng)
            predicted, true = centred(lesson.rows(rows), network)
            errors.append((predicted - true / scale).square().mean())
        optimiser.zero_grad(set_to_none=True)
        torch.stack(errors).mean().backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
        optimiser.step()
        if step % config.every == 0:
            explained = sum(_explained(lesson, network, scale) for lesson, scale in zip(held, scales, strict=True))
            explained /= len(lessons)
            if explained > best:
                best, state = explained, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    return network.eval(), best


@torch.no_grad()
def _explained(lesson: Lesson, network: SplitWorth, scale: float) -> float:
    """1 - error / variance of the differences within groups, by the first split."""
    predicted, true = centred(lesson, network)
    return float(1 - (predicted[..., :1] - true / scale).square().mean() / (true / scale).square().mean())
