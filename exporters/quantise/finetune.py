"""Quantisation-aware fine-tuning: the network learns, rounded to int8, to answer as it did in float.

Self-distillation: the float network is the teacher, so the calibration samples do as they are, without labels. Seeds
are switched at random, a pattern a batch, so that every configuration profits. A fifth of the samples is never trained
on: the weights kept are those which agree best with the teacher there, all patterns counted. The first candidate is
the network as it came.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from exporters.network import Gates, Network
from exporters.quantise.simulate import Ranges, run

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

SEED = 20260102
STEPS = 480
EVERY = 40  # steps between two candidates
BATCH = 32
LEARNING_RATE = 1e-3  # falls to a tenth on the way
LIMIT_S = 90.0
_HELD_OUT = 5  # every fifth sample
_MOST_PATTERNS = 8  # that a candidate is judged on
_LOGIT_SHARE = 0.5  # of the loss: squared differences of logits beside the divergence of the answers

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A network with fine-tuned weights. Agreements are with the float network, simulated, on held-out samples.

    ``stopped``: the time ran out before ``STEPS``, so another run may end with other weights.
    """

    network: Network
    steps: int
    kept_step: int
    agreement_before: float
    agreement: float
    stopped: bool


def finetune(
    network: Network,
    real: NDArray[np.float32],
    *,
    per_tensor_dense: bool,
    steps: int = STEPS,
    limit_s: float = LIMIT_S,
    on_progress: OnProgress | None = None,
) -> Tuned:
    """Fine-tune copies of the pieces on scaled calibration samples, (N, *input); the network itself is left as it is.

    Deterministic unless the time runs out: one thread, seeded batches and gate patterns.
    """
    import torch

    started_s = time.monotonic()
    rng = np.random.default_rng(SEED)
    with _one_thread(), torch.enable_grad():
        student = _Student(network, real, per_tensor_dense=per_tensor_dense)
        optimiser = torch.optim.Adam(student.weights, LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, total_iters=steps)
        ranges = student.observed()
        best, kept, kept_step = student.score(ranges), student.state(), 0
        before, step = best[0], 0
        while step < steps and time.monotonic() - started_s < limit_s:
            step += 1
            loss = student.loss(rng, ranges)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(student.weights, 1.0)
            optimiser.step()
            schedule.step()
            if step % EVERY == 0 or step == steps:
                ranges = student.observed()
                found = student.score(ranges)
                if found > best:
                    best, kept, kept_step = found, student.state(), step
            if on_progress is not None:
                on_progress(step, steps)
    return Tuned(
        network=student.finished(kept),
        steps=step,
        kept_step=kept_step,
        agreement_before=before,
        agreement=best[0],
        stopped=step < steps,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine: the same weights in every process."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Student:
    """Copies of a network's pieces that learn, and the float answers they learn from."""

    def __init__(self, network: Network, real: NDArray[np.float32], *, per_tensor_dense: bool) -> None:
        import torch

        self._network, self._per_tensor_dense = network, per_tensor_dense
        self._everything = torch.from_numpy(np.ascontiguousarray(real))
        held = torch.arange(len(real)) % _HELD_OUT == 0
        self._train, self._held = self._everything[~held], self._everything[held]
        self._patterns = [item.gates for item in network.configurations]
        self._judged = _some(self._patterns, _MOST_PATTERNS)
        self._modules = copy.deepcopy([piece.module for piece in network.pieces])  # together: pieces may share parts
        for module in self._modules:
            module.eval().requires_grad_(True)
        self.weights = list({id(w): w for module in self._modules for w in module.parameters()}.values())
        with torch.no_grad():
            self._teacher = {g: torch.from_numpy(network.logits(self._train.numpy(), g)) for g in self._patterns}
            self._wanted = {g: torch.from_numpy(network.logits(self._held.numpy(), g)) for g in self._judged}
        self._spread = max(float(torch.cat(list(self._teacher.values())).std()), 1e-6)

    def loss(self, rng: np.random.Generator, ranges: Ranges) -> torch.Tensor:
        """How far a random batch under a random gate pattern is from the teacher's answers."""
        import torch

        gates = self._patterns[int(rng.integers(len(self._patterns)))]
        rows = torch.from_numpy(rng.integers(0, len(self._train), min(BATCH, len(self._train))))
        return _distance(self._rounded(self._train[rows], gates, ranges), self._teacher[gates][rows], self._spread)

    def observed(self) -> Ranges:
        """The ranges of the weights as they are, over all samples."""
        import torch

        ranges = Ranges()
        with torch.no_grad():
            for gates in self._judged:
                run(
                    self._network,
                    self._modules,
                    self._everything,
                    gates,
                    ranges,
                    observing=True,
                    per_tensor_dense=self._per_tensor_dense,
                )
        return ranges

    def score(self, ranges: Ranges) -> tuple[float, float]:
        """Agreement with the teacher on the held-out samples, then the squared difference, less being more."""
        import torch

        with torch.no_grad():
            answers = {gates: self._rounded(self._held, gates, ranges) for gates in self._judged}
        same = [float((found.argmax(1) == self._wanted[g].argmax(1)).float().mean()) for g, found in answers.items()]
        noise = sum(float((found - self._wanted[g]).square().mean()) for g, found in answers.items())
        return sum(same) / len(same), -noise

    def state(self) -> list[dict[str, torch.Tensor]]:
        """A copy of the weights."""
        return [copy.deepcopy(module.state_dict()) for module in self._modules]

    def finished(self, state: list[dict[str, torch.Tensor]]) -> Network:
        """The network of these weights."""
        pieces = []
        for piece, module, kept in zip(self._network.pieces, self._modules, state, strict=True):
            module.load_state_dict(kept)
            module.requires_grad_(False)
            pieces.append(replace(piece, module=module))
        return replace(self._network, pieces=tuple(pieces))

    def _rounded(self, value: torch.Tensor, gates: Gates, ranges: Ranges) -> torch.Tensor:
        return run(
            self._network,
            self._modules,
            value,
            gates,
            ranges,
            observing=False,
            per_tensor_dense=self._per_tensor_dense,
        )


def _distance(found: torch.Tensor, wanted: torch.Tensor, spread: float) -> torch.Tensor:
    """How far two batches of logits are apart: the divergence of their answers, and their scaled squared difference."""
    import torch.nn.functional as F  # noqa: N812  its usual name

    divergence = F.kl_div(F.log_softmax(found, 1), F.log_softmax(wanted, 1), log_target=True, reduction="batchmean")
    return divergence + _LOGIT_SHARE * ((found - wanted) / spread).square().mean()


def _some(patterns: Sequence[Gates], most: int) -> list[Gates]:
    """At most so many patterns, first and last among them."""
    rows = np.linspace(0, len(patterns) - 1, min(most, len(patterns))).astype(int)
    return [patterns[i] for i in rows]
