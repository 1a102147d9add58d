"""The loop itself: a window of planned steps on stacked tensors, eagerly or as a captured CUDA graph.

Nothing here knows of lanes, states or modules, and nothing waits for the device: that is what lets a graph hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tamiyo_train.config import Episode
from tamiyo_train.population.adam import Block, Coefficients
from tamiyo_train.population.layout import Layout
from tamiyo_train.population.passes import Stacked, backward, correct, cross_entropy, forward
from tamiyo_train.population.plan import Outline, Plan

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a window of W steps measured of N lanes: losses (W, N), nats, and how many of a batch were right (W, N).

    ``seed_losses``: those of the held pass, NaN in lanes without a seed in training.
    """

    losses: Tensor
    correct: Tensor
    seed_losses: Tensor

    def copied(self) -> Window:
        """A copy, for results that the next window overwrites."""
        return Window(losses=self.losses.clone(), correct=self.correct.clone(), seed_losses=self.seed_losses.clone())


class Engine:
    """Blocks of weights and moments on a device, with the resident data: ``inputs`` (M, features), ``labels`` (M,)."""

    def __init__(
        self, layout: Layout, config: Episode, *, lanes: int, inputs: Tensor, labels: Tensor, tf32: bool = False
    ) -> None:
        self.layout = layout
        self.config = config
        self.inputs = inputs
        self.labels = labels
        self.tf32 = tf32
        self.hosts = Block.like(inputs, lanes, layout.host_size)
        self.seeds = Block.like(inputs, lanes, layout.slots, layout.seed_size)
        self.held = torch.zeros_like(self.seeds.grads)
        self.net = Stacked.of(layout, self.hosts.params, self.seeds.params)
        self.grads = Stacked.of(layout, self.hosts.grads, self.seeds.grads)
        self.held_grads = Stacked.of(layout, self.hosts.grads, self.held)
        self._captured: dict[Outline, _Captured] = {}

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.inputs.device

    def run(self, plan: Plan, outline: Outline) -> Window:
        """Train a window; on a CUDA device by replaying a graph, which the first window of an outline captures."""
        with _tf32(self.tf32):
            if self.device.type != "cuda":
                return self._eager(plan, outline)
            if outline not in self._captured:
                self._captured[outline] = _capture(self, plan, outline)
            captured = self._captured[outline]
            captured.plan.copy_(plan)
            captured.graph.replay()
            return captured.window.copied()

    def logits(self, x: Tensor, alphas: Tensor, slots: tuple[int, ...]) -> Tensor:
        """Logits (N, classes, n) of all lanes on the same inputs x (n, features)."""
        lanes = len(self.hosts.params)
        with _tf32(self.tf32):
            return forward(self.layout, self.net, x.t().expand(lanes, -1, -1), alphas, slots)[0]

    def _eager(self, plan: Plan, outline: Outline) -> Window:
        shape = plan.rows.shape[:2]
        window = Window(
            losses=self.inputs.new_empty(shape),
            correct=self.labels.new_empty(shape),
            seed_losses=self.inputs.new_full(shape, torch.nan),
        )
        self.seeds.grads.zero_()  # slots that are not run would keep those of an earlier window
        for index in range(outline.steps):
            self._step(plan, outline, index, window)
        return window

    def _step(self, plan: Plan, outline: Outline, index: int, window: Window) -> None:
        rows, slots = plan.rows[index], outline.slots
        x, y = self.inputs[rows].transpose(1, 2), self.labels[rows]
        logits, tape = forward(self.layout, self.net, x, plan.alphas[index], slots)
        losses, d = cross_entropy(logits, y)
        backward(tape, d, grads=self.grads, host=True, slots=slots)
        window.losses[index] = losses
        window.correct[index] = correct(logits, y)
        if outline.training:
            window.seed_losses[index] = self._held_pass(plan, outline, index, (x, y))
        if self.config.weight_decay:
            self.hosts.decay(plan.weights_kept[index, :, 0])
            self.seeds.decay(plan.weights_kept[index, :, 1:])
        self.hosts.update(_coefficients(plan, index, 0), self.config.gradient_limit)
        if slots:
            self.seeds.update(_coefficients(plan, index, slice(1, None)), self.config.gradient_limit)

    def _held_pass(self, plan: Plan, outline: Outline, index: int, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Gradients of the seeds in training, with these fully on and everything else held; their loss (N,)."""
        (x, y), training = batch, plan.training[index]
        logits, tape = forward(self.layout, self.net, x, plan.held[index], outline.slots)
        losses, d = cross_entropy(logits, y)
        backward(tape, d, grads=self.held_grads, host=False, slots=outline.training)
        torch.where(training, self.held, self.seeds.grads, out=self.seeds.grads)
        return torch.where(training.any(1)[:, 0], losses, torch.nan)


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    plan: Plan
    window: Window


def _capture(engine: Engine, plan: Plan, outline: Outline) -> _Captured:
    """Capture a window of steps. The warm-up runs with all steps of size nought, so that it changes nothing."""
    static = plan.copied()
    for name in ("step_size", "first", "second"):
        getattr(static, name).zero_()
    static.weights_kept.fill_(1.0)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        engine._eager(static, outline)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        window = engine._eager(static, outline)
    return _Captured(graph, static, window)


def _coefficients(plan: Plan, index: int, groups: int | slice) -> Coefficients:
    """Those of group 0, the host's, (N, 1), or those of a slice, the seeds', (N, S, 1)."""
    parts = (plan.step_size, plan.root_correction, plan.first, plan.second)
    return Coefficients(*(part[index, :, groups] for part in parts))


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 products, or not; torch's own setting is as before afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
