"""Networks that do not grow: the bare host, and the twin that has a grown network's final topology from the first step.

They are trained by the same steps on the same schedule, consolidation included. Nothing of the environment takes part,
which is what makes them controls: an episode that only waits must come out bit-equal to the bare host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tamiyo_train.blueprints import blueprints
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.hosts import Host
from tamiyo_train.lifecycle import State, Transition
from tamiyo_train.seed import GrownNetwork, Seed
from tamiyo_train.seeding import derive, initialising
from tamiyo_train.trainer import Trainer


def committed(host: Host, topology: Mapping[int, str], *, seed: int) -> GrownNetwork:
    """A host with newborn seeds of the named blueprints in place for good, blended in fully."""

    def no_history(transition: Transition) -> None:
        raise AssertionError(f"a static network lives through nothing, got {transition}")

    network = GrownNetwork(host, no_history)
    for slot, name in sorted(topology.items()):
        blueprint = blueprints.get(name)
        with initialising(derive(seed, "seed", slot)):
            module = blueprint.build(host.places[slot])
        network.plant(slot, Seed(blueprint=blueprint, module=module, rate=1.0, born_step=0, alpha=1.0))
        network.lives[slot].rewind(State.FOSSILISED)
    return network


def train_static(
    host: Host,
    topology: Mapping[int, str],
    data: Tensors,
    config: Episode,
    *,
    seed: int,
    on_step: Callable[[int], None] | None = None,
) -> Trainer:
    """Train a fixed topology for as many steps as an episode has; an empty topology is the bare host.

    ``on_step`` is told the steps done after each of them.
    """
    network = committed(host, topology, seed=seed)
    trainer = Trainer(network, data, config, seed=seed, planted=True)
    trainer.on_step = on_step
    for index in range(config.total_steps):
        trainer.step(consolidate=index >= config.steps)
    return trainer
