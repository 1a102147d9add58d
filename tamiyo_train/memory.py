"""What training keeps in memory until its backward pass, piece by piece.

autograd says what it saves; every storage is counted once, at the piece that saves it first, and parameters and buffers
are left out, since they are there anyway. On CUDA the allocator's peak over a whole step is reported beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_train.config import TrainConfig
from tamiyo_train.data import task_of
from tamiyo_train.jobs import new_host
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.static import committed

LOSS = "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceMemory:
    """Bytes that one piece keeps for the backward pass of a batch; ``blueprint`` is None for a trunk piece."""

    name: str
    blueprint: str | None
    saved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationReport:
    """Memory of one training step. ``peak_bytes``: allocated at most during it; None on a CPU, where nobody counts."""

    batch: int
    device: str
    pieces: tuple[PieceMemory, ...]
    peak_bytes: int | None

    @property
    def saved_bytes(self) -> int:
        """All that is kept for the backward pass."""
        return sum(piece.saved_bytes for piece in self.pieces)

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {**asdict(self), "saved_bytes": self.saved_bytes, "source": "measured"}


def planned_report(config: TrainConfig, topology: Mapping[int, str] | None = None) -> ActivationReport:
    """What the final growth of a run will keep on a CPU, with seeds of ``topology`` (blueprint by slot) in place.

    Raises UnknownNameError for a name that is not registered.
    """
    network = committed(new_host(config, config.seed), topology or {}, seed=config.seed)
    return activation_report(network, torch.zeros(config.final.batch, *task_of(config.task, config.data).input.shape))


def activation_report(network: GrownNetwork, x: torch.Tensor) -> ActivationReport:
    """Run one forward and backward pass of a training step on ``x`` (B, *input) and count what was kept.

    The network is as before afterwards: gradients are thrown away, batch norms keep their statistics and every module
    its mode.
    """
    cuda = x.device.type == "cuda"
    saved: dict[str, int] = {}
    with _as_it_was(network), ExitStack() as hooks:
        if cuda:
            torch.cuda.synchronize(x.device)
            torch.cuda.reset_peak_memory_stats(x.device)
        network.train()
        count = _Counter(network, saved)
        for name, piece in _pieces(network).items():
            hooks.callback(piece.register_forward_pre_hook(count.entering(name)).remove)
        with torch.autograd.graph.saved_tensors_hooks(count.pack, lambda tensor: tensor):
            logits = network(x)
            count.piece = LOSS
            loss = F.cross_entropy(logits, logits.detach().argmax(1))
        torch.autograd.grad(loss, [p for p in network.parameters() if p.requires_grad], allow_unused=True)
    blueprints = {f"seed{slot}": seed.blueprint.name for slot, seed in enumerate(network.seeds) if seed is not None}
    return ActivationReport(
        batch=len(x),
        device=x.device.type,
        pieces=tuple(
            PieceMemory(name=name, blueprint=blueprints.get(name), saved_bytes=saved.get(name, 0))
            for name in (*_pieces(network), LOSS)
        ),
        peak_bytes=torch.cuda.max_memory_allocated(x.device) if cuda else None,
    )


def _pieces(network: GrownNetwork) -> dict[str, nn.Module]:
    """Trunk pieces and seeds by name, in running order."""
    pieces: dict[str, nn.Module] = {"trunk0": network.trunk[0]}
    for slot in range(network.host.slots):
        seed = network.seeds[slot]
        if seed is not None:
            pieces[f"seed{slot}"] = seed.module
        pieces[f"trunk{slot + 1}"] = network.trunk[slot + 1]
    return pieces


class _Counter:
    """Adds up what autograd saves under the name of the piece that runs."""

    def __init__(self, network: nn.Module, saved: dict[str, int]) -> None:
        self.piece = "trunk0"
        self._saved = saved
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}

    def entering(self, name: str) -> Callable[[nn.Module, object], None]:
        """A hook for the piece of that name: what is saved from now on is its own."""

        def hook(module: nn.Module, inputs: object) -> None:
            self.piece = name

        return hook

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        """Called by autograd for every tensor it saves; it keeps the tensor, so no address is used twice meanwhile."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._saved[self.piece] = self._saved.get(self.piece, 0) + storage.nbytes()
        return tensor


@contextmanager
def _as_it_was(network: nn.Module) -> Iterator[None]:
    """Modes and buffers of the network are put back."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
