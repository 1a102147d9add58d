"""Networks that do not grow: the bare host, and the twin that has a grown network's final topology from the first step.

They are trained by the same steps on the same schedule, consolidation included. Nothing of the environment takes part,
which is what makes them controls: an episode that only waits must come out bit-equal to the bare host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.blueprints import blueprints
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors
from tamiyo_train.hosts import Host
from tamiyo_train.lifecycle import State, Transition
from tamiyo_train.seed import GrownNetwork, Seed
from tamiyo_train.seeding import derive, initialising
from tamiyo_train.trainer import Trainer

NOTHING: Mapping[str, str] = MappingProxyType({})


def committed(
    host: Host, topology: Mapping[int, str], *, inner: Mapping[str, str] = NOTHING, seed: int
) -> GrownNetwork:
    """A host with newborn seeds of the named blueprints in place for good, blended in fully.

    ``topology``: blueprint by slot; ``inner``: blueprint of each seed inside a seed by its path, such as "2.0" for the
    first slot inside the seed of slot 2. Raises IncompatibleError when there is no such slot inside.
    """

    def no_history(transition: Transition) -> None:
        raise AssertionError(f"a static network lives through nothing, got {transition}")

    def commit(slot: int, name: str, *origin: int | str) -> None:
        blueprint, place = blueprints.get(name), network.place(slot)
        assert place is not None, f"slot {slot} is open"
        with initialising(derive(seed, "seed", *origin)):
            module = blueprint.build(place)
        network.plant(slot, Seed(blueprint=blueprint, module=module, rate=1.0, born_step=0, alpha=1.0))
        network.lives[slot].rewind(State.FOSSILISED)

    network = GrownNetwork(host, no_history, nested_slots=len(inner))
    for slot, name in sorted(topology.items()):
        commit(slot, name, slot)
    numbers = {str(slot): slot for slot in topology}
    for path, name in sorted(inner.items(), key=lambda item: (item[0].count("."), item[0])):
        around, _, index = path.rpartition(".")
        if around not in numbers or not int(index) < network.rooms(numbers[around]):
            raise IncompatibleError(
                f"there is no slot {path}", hint="only a seed with slots inside, such as 'nested', has some"
            )
        numbers[path] = network.open(numbers[around], int(index))
        commit(numbers[path], name, path)
    return network


def train_static(
    host: Host,
    topology: Mapping[int, str],
    data: Tensors,
    config: Episode,
    *,
    inner: Mapping[str, str] = NOTHING,
    seed: int,
    on_step: Callable[[int], None] | None = None,
) -> Trainer:
    """Train a fixed topology for as many steps as an episode has; an empty topology is the bare host.

    ``topology`` and ``inner``: see `committed`; ``on_step`` is told the steps done after each of them.
    """
    network = committed(host, topology, inner=inner, seed=seed)
    trainer = Trainer(network, data, config, seed=seed, planted=True)
    trainer.on_step = on_step
    for index in range(config.total_steps):
        trainer.step(consolidate=index >= config.steps)
    return trainer
