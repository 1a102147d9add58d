"""The record of a training run: everything that is kept of it, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.observation import HEADS, OBSERVATION, Heads, check_layout
from tamiyo_train.slots import Shape

if TYPE_CHECKING:
    import torch

    from tamiyo_train.policy.network import PolicyNetwork
    from tamiyo_train.seed import GrownNetwork

SCHEMA = "tamiyo.run/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRecord:
    """A fossilised seed. ``contribution``: validation accuracy of the full network minus that without it, fraction.

    ``params`` and ``macs`` are its own, without what grows inside it; leaving it out leaves that out as well. ``path``:
    where it is when it lies inside another, such as "2.0" in the first slot inside the seed of slot 2; ``slot`` is then
    the number that slot had.
    """

    slot: int
    blueprint: str
    rate: float
    contribution: float
    contribution_low: float
    params: int
    macs: int
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRecord:
    """A point of the learning curve: state of the growing network at the end of a decision window.

    ``alphas``: blending factor of every slot; ``learning_rate``: the host's at the last step.
    """

    step: int
    operation: str
    slot: int | None = None
    blueprint: str | None = None
    intensity: float | None = None
    loss: float | None = None
    accuracy: float
    params: int
    drift: float
    panics: int
    alphas: tuple[float, ...] = ()
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkResult:
    """A trained network: accuracies are fractions; params and MACs as deployed (batch norm folded).

    ``test_metric``, ``validation_metric``: by the record's metric, None where that is accuracy itself.
    """

    test_accuracy: float
    validation_accuracy: float
    params: int
    macs: int
    training_macs: int
    steps: int
    test_metric: float | None = None
    validation_metric: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRecord:
    """One subset of the seeds and its figures, as in `NetworkResult`. ``gates[k]``: the seed of slot k runs."""

    gates: tuple[bool, ...]
    validation_accuracy: float
    test_accuracy: float
    params: int
    macs: int
    validation_metric: float | None = None
    test_metric: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSummary:
    """How episodes of one method came out. ``utility_deviation`` is None with fewer than two episodes."""

    episodes: int
    mean_utility: float
    mean_accuracy: float
    mean_params: float
    utility_deviation: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Contents of ``run.json``. ``results``: grown, ungrown (the bare host) and twin (grown topology from step 0).

    ``depth``: hidden layers asked for, None: the host's own. ``metric``: the task's own, see `tamiyo_train.metrics`.
    ``slots``: of the host; ``seeds``: those in them, by slot; ``inner_seeds``: those inside seeds, by path.
    """

    schema: str
    task: str
    task_sha256: str
    host: str
    width: int
    input_shape: Shape
    classes: int
    slots: int
    seed: int
    growth: str
    blueprints: tuple[str, ...]
    seeds: tuple[SeedRecord, ...]
    history: tuple[WindowRecord, ...]
    audit: tuple[Mapping[str, Any], ...]
    configurations: tuple[ConfigurationRecord, ...]
    results: Mapping[str, NetworkResult]
    methods: Mapping[str, MethodSummary]
    lesson: Mapping[str, Any]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    observation: str = OBSERVATION
    heads: str = HEADS
    policy_samples_seed: int = 0
    profile: str | None = None
    inner_seeds: tuple[SeedRecord, ...] = ()
    metric: str = "accuracy"
    depth: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots = [seed.slot for seed in self.seeds]
        require(slots == sorted(set(slots)), "seeds", "must come in slot order, one a slot")
        require(all(0 <= slot < self.slots for slot in slots), "seeds", f"a slot is not in 0..{self.slots - 1}")
        require(bool(self.blueprints), "blueprints", "must not be empty")
        paths = [str(slot) for slot in slots]
        for seed in self.inner_seeds:
            around, _, index = (seed.path or "").rpartition(".")
            require(around in paths and index.isdecimal(), "inner_seeds", f"no seed holds a slot {seed.path}")
            paths.append(f"{around}.{index}")
        require(len(paths) == len(set(paths)), "inner_seeds", "must be one a slot")

    @property
    def topology(self) -> dict[int, str]:
        """Blueprint of every fossilised seed of the host's slots by slot."""
        return {seed.slot: seed.blueprint for seed in self.seeds}

    @property
    def inner_topology(self) -> dict[str, str]:
        """Blueprint of every fossilised seed inside a seed by path."""
        return inner_topology_of(self.inner_seeds)


def inner_topology_of(seeds: Sequence[SeedRecord]) -> dict[str, str]:
    """Blueprint by path of seeds that lie inside others."""
    return {seed.path: seed.blueprint for seed in seeds if seed.path is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A record with the tensors it speaks of: ``network`` (trunk.*, seed_K.*), ``policy``, and ``observations``.

    ``observations``: (N, observation_size) float32 that the policy met while the network grew, for parity checks.
    """

    record: RunRecord
    network: Mapping[str, torch.Tensor]
    policy: Mapping[str, torch.Tensor]
    observations: torch.Tensor

    def grown_network(self) -> GrownNetwork:
        """The network, in eval mode; raises IntegrityError when the tensors don't fit the record."""
        from tamiyo_train.hosts import made
        from tamiyo_train.seeding import initialising
        from tamiyo_train.static import committed

        record = self.record
        with initialising(0):
            host = made(
                record.host,
                shape=record.input_shape,
                classes=record.classes,
                width=record.width,
                depth=record.depth,
            )
        network = committed(host, record.topology, inner=record.inner_topology, seed=0)
        _load(network, self.network, "network")
        network.eval()
        return network

    def policy_network(self) -> PolicyNetwork:
        """The policy, in eval mode.

        Raises IncompatibleError when it reads another version's observations, IntegrityError when the tensors don't fit
        the record.
        """
        from tamiyo_train.policy.network import PolicyNetwork
        from tamiyo_train.seeding import initialising

        check_layout("the run's policy", observation=self.record.observation, heads=self.record.heads)
        with initialising(0):
            network = PolicyNetwork(Heads(slots=self.record.slots, blueprints=len(self.record.blueprints)))
        _load(network, self.policy, "policy")
        network.eval()
        return network


def _load(module: Any, tensors: Mapping[str, torch.Tensor], what: str) -> None:
    from tamiyo_runtime.contracts.errors import IntegrityError

    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as exc:
        raise IntegrityError(
            f"the {what}'s tensors do not fit the run's record: {str(exc).splitlines()[-1].strip()}",
            hint="the run was written by another version or changed by hand; train again",
        ) from exc
