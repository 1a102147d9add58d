"""A network grown for an examination, as the measures see it: rebuilt, in eval mode, with its task's samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from tamiyo_train.config import TrainConfig
from tamiyo_train.data import Tensors, data_of, task_of
from tamiyo_train.growing import Grown
from tamiyo_train.handover import Handover, network_pieces
from tamiyo_train.jobs import new_host
from tamiyo_train.run import NetworkResult, inner_topology_of
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.static import committed


@dataclass(frozen=True, kw_only=True)
class Pupil:
    """``ungrown``: what came of the same host trained as long without growing, where a stage asks for it; ``bare``:
    that host itself, where it was trained just now."""

    config: TrainConfig
    grown: Grown
    ungrown: NetworkResult | None = None
    bare: GrownNetwork | None = None

    @cached_property
    def network(self) -> GrownNetwork:
        """The committed network, in eval mode."""
        topology = {seed.slot: seed.blueprint for seed in self.grown.seeds}
        inner = inner_topology_of(self.grown.inner_seeds)
        network = committed(new_host(self.config, 0), topology, inner=inner, seed=0)
        network.load_state_dict(self.grown.network)
        network.eval()
        return network

    def handover(self) -> Handover:
        """The committed network as what deploys it wants it, in modules of its own."""
        apart = replace(self)  # deploying freezes what it is given
        name = f"{self.config.task}-{self.config.host}"
        task = task_of(self.config.task, self.config.data)
        return network_pieces(apart.network, task, name=name, seed=self.config.seed)

    @property
    def data(self) -> Tensors:
        """The task's samples, scaled."""
        return data_of(self.config.task, self.config.data)


def success_of(result: NetworkResult) -> float:
    """What a task is judged by: its own metric on the test set, accuracy where it names none."""
    return result.test_accuracy if result.test_metric is None else result.test_metric
