"""Everything a window of steps needs that is not a weight, worked out in advance for all lanes.

Which samples are drawn, which seeds take part, how far they are blended in, how large each group's step is: none of it
depends on what the steps compute. The loop itself is then tensor code alone, which a CUDA graph can hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch

from tamiyo_train import charges
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.population.adam import BETAS
from tamiyo_train.population.draws import Draws, hashed_rows, stream_rows
from tamiyo_train.population.lanes import Lane
from tamiyo_train.population.state import Start, read_lanes, write_lanes
from tamiyo_train.trainer import SEED_WARMUP_STEPS

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """W steps of N lanes with S slots and F families; G = 1 + S groups, the host first.

    ``rows`` (W, N, B): variant * samples + sample. ``alphas`` and ``held`` (W, F, N, S, 1, 1): blending factors of the
    step and of the held pass. ``training`` (W, N, S, 1) bool. ``weights_kept`` (W, N, G, 1): share of its weights that
    weight decay leaves a group. The rest, of the same shape: the coefficients of Adam.
    """

    rows: Tensor
    alphas: Tensor
    held: Tensor
    training: Tensor
    weights_kept: Tensor
    step_size: Tensor
    root_correction: Tensor
    first: Tensor
    second: Tensor

    def copied(self) -> Plan:
        """A copy of this plan."""
        return Plan(**{field.name: getattr(self, field.name).clone() for field in fields(self)})

    def belongs_to(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of a plan made on another stream until this one is done with it."""
        for field in fields(self):
            getattr(self, field.name).record_stream(stream)

    def copy_(self, other: Plan) -> None:
        """Overwrite this plan's tensors in place, as a captured graph needs."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name), non_blocking=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What is static about a plan: slots that hold a seed in some lane, and those where one is in training."""

    steps: int
    slots: tuple[int, ...]
    training: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where a window leaves N lanes: ``updates`` (N, 1 + S), ``alpha`` and ``position`` (N, S), and the MACs spent."""

    updates: Tensor
    alpha: Tensor
    position: Tensor
    training_macs: Tensor


class Planner:
    """Plans windows on ``device`` for lanes of one episode. ``trunk`` (4, 1 + S): tolls of the host, see `charges`.

    On a CUDA device it has a stream of its own, so that the next window is planned while the last one still trains.
    """

    def __init__(
        self, config: Episode, data: Tensors, *, families: int, trunk: Tensor, draws: Draws, device: torch.device
    ) -> None:
        self.config = config
        self.data = data
        self.families = torch.arange(families, device=device)[:, None, None]
        self.trunk = trunk.to(device)
        self.draws = draws
        self.rates = rate_table(config).to(device)
        dropouts = (config.gate_dropout, config.consolidation_dropout if config.consolidation_steps else 0.0)
        self._drops = max(dropouts) > 0
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # torch's

    def plan(
        self, lanes: Sequence[Lane | None], steps: int, waiting: Mapping[int, Sequence[int]]
    ) -> tuple[Plan, Outline]:
        """Plan the next ``steps`` of every lane and advance the lanes' bookkeeping to their end.

        A lane that is None or at its horizon rests; one that reaches it earlier than the others rests from there on.
        ``waiting``: slots by lane whose blending factor must not rise in this window.
        """
        with self._aside():
            plan, outline = self._planned(lanes, steps, waiting)
        if self._stream is not None:
            plan.belongs_to(torch.cuda.current_stream())
        return plan, outline

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Work on the planner's stream; what follows on the caller's waits for it, but not the other way round."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream().wait_stream(self._stream)

    def _planned(
        self, lanes: Sequence[Lane | None], steps: int, waiting: Mapping[int, Sequence[int]]
    ) -> tuple[Plan, Outline]:
        start = read_lanes(lanes, self.config, waiting)
        counts = start.own.clamp(0, steps)
        outline = Outline(
            steps=steps,
            slots=tuple((start.family >= 0).any(0).nonzero()[:, 0].tolist()),
            training=tuple((start.training & (start.own > 0)[:, None]).any(0).nonzero()[:, 0].tolist()),
        )
        kept = self._kept(lanes, start, counts.tolist(), steps)
        device = self.rates.device
        start, kept = start.to(device), kept.to(device)
        if self.draws is Draws.HASHED:
            rows = hashed_rows(start.seed, start.step + _each(steps, device), self.config.batch, self.data)
        else:
            rows = stream_rows(lanes, counts.tolist(), steps, self.config, self.data).to(device)
        plan, end = self.lay_out(start, rows, kept)
        write_lanes(
            lanes, steps=counts, updates=end.updates, alpha=end.alpha, position=end.position, macs=end.training_macs
        )
        return plan, outline

    def lay_out(self, start: Start, rows: Tensor, kept: Tensor) -> tuple[Plan, End]:
        """The plan of as many steps as ``rows`` (W, N, B) has, and where it leaves the lanes; all on one device.

        ``kept`` (W or 1, N or 1, S): False where gate dropout leaves a seed out of a step.
        """
        done = _each(len(rows), rows.device)
        step, taking = start.step + done, done < start.own
        position = start.position + (start.rise * start.rising) * (torch.minimum(done, start.own - 1) + 1)[..., None]
        position = position.clamp_max(1.0)
        present = torch.where(start.rising, _cosine_ramp(position), start.alpha)
        training = start.training & taking[..., None]
        alphas = torch.where(taking[..., None], present * kept, 0.0)
        active = torch.cat([taking[..., None], (alphas > 0) | training], 2)
        updates = start.updates + active.cumsum(0)
        plan = Plan(
            rows=rows,
            alphas=self._by_family(alphas, start),
            held=self._by_family(torch.where(training, 1.0, present), start),
            training=training[..., None],
            **self._coefficients(start, step, updates, active),
        )
        return plan, End(
            updates=updates[-1],
            alpha=torch.where(start.own[:, None] > 0, present[-1], start.alpha),
            position=torch.where(start.own[:, None] > 0, position[-1], start.position),
            training_macs=self._work(start, taking, present=present > 0, ran=present * kept > 0),
        )

    def _coefficients(self, start: Start, step: Tensor, updates: Tensor, active: Tensor) -> dict[str, Tensor]:
        """AdamW's numbers a group and step: those that leave a group as it is where it is not active."""
        host = start.learning_rate * self.rates[step.clamp_max(len(self.rates) - 1)]
        warming = ((step[..., None] - start.born + 1) / SEED_WARMUP_STEPS).clamp_max(1.0)
        rates = host[..., None] * torch.cat([torch.ones_like(host)[..., None], start.rate * warming], 2)
        counted = updates.clamp_min(1).double()
        numbers = {
            "weights_kept": 1 - active * rates * self.config.weight_decay,
            "step_size": active * rates / (1 - BETAS[0] ** counted),
            "root_correction": (1 - BETAS[1] ** counted).rsqrt(),
            "first": active * (1 - BETAS[0]),
            "second": active * (1 - BETAS[1]),
        }
        return {name: number.to(self.data.variants.dtype)[..., None] for name, number in numbers.items()}

    def _by_family(self, factors: Tensor, start: Start) -> Tensor:
        return (factors[:, None] * (start.family == self.families)).to(self.data.variants.dtype)[..., None, None]

    def _kept(self, lanes: Sequence[Lane | None], start: Start, counts: Sequence[int], steps: int) -> Tensor:
        """False where gate dropout leaves a seed out of a step, (W, N, S). See `Trainer._drawn_alphas`."""
        slots = start.family.shape[1]
        if not self._drops:
            return torch.ones(1, 1, slots, dtype=torch.bool)
        drawn = torch.ones(steps, len(lanes), 1 + slots)
        for number, (lane, count) in enumerate(zip(lanes, counts, strict=True)):
            if lane is not None:
                drawn[:count, number] = torch.rand(count, 1 + slots, generator=lane.generators["gates"])
        consolidating = start.step + torch.arange(steps)[:, None] >= self.config.steps
        dropout = torch.where(consolidating, self.config.consolidation_dropout, self.config.gate_dropout)
        dropped = (drawn[..., :1] < dropout[..., None]) & (drawn[..., 1:] >= 0.5)
        return ~(dropped & start.droppable)

    def _work(self, start: Start, taking: Tensor, *, present: Tensor, ran: Tensor) -> Tensor:
        """Multiply-accumulates of each lane's window, (N,). See `charges.Meter`."""
        seeds = start.tolls[:, None]
        learning = charges.learning_pass(self.trunk, seeds, ran)
        held = charges.held_pass(self.trunk, seeds, present, start.training.expand_as(present))
        return self.config.batch * ((learning + held) * taking).sum(0)


def _each(steps: int, device: torch.device) -> Tensor:
    """The steps of a window, (W, 1)."""
    return torch.arange(steps, device=device)[:, None]


def rate_table(config: Episode) -> Tensor:
    """`Trainer.learning_rate` at every step of an episode, over the episode's own: (total_steps,) float64."""
    steps = torch.arange(config.total_steps, dtype=torch.float64)
    warm = max(1, round(config.warmup_share * config.steps))
    floor = config.consolidation_rate if config.consolidation_steps else 0.0
    growing = _cosine((steps - warm) / max(1, config.steps - warm), floor)
    settling = config.consolidation_rate * _cosine((steps - config.steps) / max(1, config.consolidation_steps), 0.0)
    return torch.where(steps >= config.steps, settling, torch.where(steps < warm, (steps + 1) / warm, growing))


def _cosine(progress: Tensor, floor: float) -> Tensor:
    return floor + (1 - floor) * 0.5 * (1 + torch.cos(torch.pi * progress.clamp(0.0, 1.0)))


def _cosine_ramp(position: Tensor) -> Tensor:
    """`seed.cosine_ramp` of positions that lie in 0..1."""
    return 0.5 - 0.5 * torch.cos(torch.pi * position)
