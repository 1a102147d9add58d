"""Many hosts in training at once: lanes of stacked tensors that live the same lives as networks of their own.

A lane does what `Trainer`, `GrownNetwork` and `Gardener` do to one network, step by step, from the same seed; tests
hold the two against each other. What changes between windows (germination, culling, a new host) are writes into padded
slots. The governor has no part in it: a lane that turns non-finite is lost, the others do not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train import charges
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.config import Episode
from tamiyo_train.data import Labelled, Tensors
from tamiyo_train.evaluation import Scores
from tamiyo_train.footprint import Layer
from tamiyo_train.gates import probe_at_birth
from tamiyo_train.hosts import Host
from tamiyo_train.lifecycle import Event, State, Transition
from tamiyo_train.population.convert import KIN, kinship, read, trunk_parts, write
from tamiyo_train.population.draws import Draws
from tamiyo_train.population.engine import Engine, Window
from tamiyo_train.population.episodes import check_trained
from tamiyo_train.population.families import FAMILIES
from tamiyo_train.population.lanes import Audit, Lane, Occupant
from tamiyo_train.population.layout import Layout
from tamiyo_train.population.plan import Planner
from tamiyo_train.seed import GrownNetwork, Seed
from tamiyo_train.seeding import derive, initialising

Tensor = torch.Tensor


def _unheard(lane: int, transition: Transition) -> None:
    return None


class Population:
    """Lanes of hosts that ``build`` makes, on one task, each for the fixed horizon of ``config``.

    ``families``: kinds of seeds the slots are padded for, by name; ``inner``: K_max, inner units a seed may have, by
    default the host's width. Weights, moments and data lie on ``device``; ``tf32`` allows TF32 products on CUDA.
    ``draws``: where batches come from; only a stream gives a lane those of an ordinary trainer. Computes in the
    precision of ``data``. Raises IncompatibleError for hosts that are no perceptrons, and what `check_trained` raises.
    """

    def __init__(
        self,
        build: Callable[[], Host],
        data: Tensors,
        config: Episode,
        *,
        lanes: int,
        families: Sequence[str] = ("residual",),
        inner: int | None = None,
        device: str = "cpu",
        tf32: bool = False,
        draws: Draws = Draws.STREAM,
        audit: Audit = _unheard,
    ) -> None:
        check_trained(config)
        require(lanes > 0, "lanes", f"must be above 0, got {lanes}")
        for name in families:
            require(name in FAMILIES, "families", f"must be of {', '.join(FAMILIES)}, got '{name}'")
        self.config = config
        self.data = data
        self.host = _new_host(build, 0)
        width = self.host.places[0].writable
        self.layout = Layout.of(self.host, families=[FAMILIES[name] for name in families], inner=inner or width)
        self.lanes: list[Lane | None] = [None] * lanes
        where = torch.device(device)
        self.engine = Engine(
            self.layout,
            config,
            lanes=lanes,
            inputs=data.variants.flatten(2).flatten(0, 1).to(where),
            labels=data.train_y.repeat(len(data.variants)).to(where),
            tf32=tf32,
        )
        self._build = build
        self._audit = audit
        self.planner = Planner(
            config,
            data,
            families=len(self.layout.families),
            trunk=charges.tolls(self.host.layers),
            draws=draws,
            device=where,
        )

    def __len__(self) -> int:
        return len(self.lanes)

    def at(self, lane: int) -> Lane:
        """The bookkeeping of a lane that is known to hold a host."""
        found = self.lanes[lane]
        assert found is not None, f"lane {lane} is empty"
        return found

    @property
    def finished(self) -> tuple[int, ...]:
        """Lanes at their horizon."""
        horizon = self.config.total_steps
        return tuple(n for n, lane in enumerate(self.lanes) if lane is not None and lane.step_index >= horizon)

    def fill(self, lane: int, *, seed: int, learning_rate: float | None = None, host: Host | None = None) -> None:
        """Start a new host in a lane, whatever was in it; by default the one that ``seed`` initialises.

        ``learning_rate``: peak of this lane's schedule, by default the episode's.
        """
        host = host or _new_host(self._build, derive(seed, "host"))
        self._check_same(host)
        self.lanes[lane] = Lane.new(
            lane,
            seed=seed,
            learning_rate=self.config.learning_rate if learning_rate is None else learning_rate,
            slots=self.layout.slots,
            audit=self._audit,
        )
        write(self.engine.net.trunk, lane, trunk_parts(host.trunk))
        self.engine.hosts.forget(lane)
        for slot in range(self.layout.slots):
            self._clear(lane, slot)

    def clone(self, lane: int, onto: Mapping[int, int]) -> None:
        """Copy a lane, moments included, onto others, each to go on with a seed of its own: {lane: seed}."""
        source, targets = self.at(lane), list(onto)
        for block in (self.engine.hosts, self.engine.seeds):
            for tensor in (block.params, block.mean, block.square):
                tensor[targets] = tensor[lane].clone()
        for target, seed in onto.items():
            copy = Lane.new(
                target,
                seed=seed,
                learning_rate=source.learning_rate,
                slots=self.layout.slots,
                audit=self._audit,
            )
            copy.step_index, copy.updates, copy.embargo = source.step_index, source.updates, dict(source.embargo)
            copy.seeds = [None if planted is None else replace(planted) for planted in source.seeds]
            for life, other in zip(copy.lives, source.lives, strict=True):
                life.rewind(other.state)
            self.lanes[target] = copy

    def train(self, steps: int, *, waiting: Mapping[int, Sequence[int]] | None = None) -> Window:
        """Train every lane for ``steps``, or to its horizon when that is nearer.

        ``waiting``: slots by lane whose seeds drift too far for their blending factor to rise in this window.
        """
        return self.engine.run(*self.planner.plan(self.lanes, steps, waiting or {}))

    def germinate(self, lane: int, slot: int, blueprint: Blueprint, *, rate: float = 1.0) -> None:
        """Plant a newborn, the one that `Gardener.germinate` would, and cull it if it fails its probe.

        Raises IncompatibleError, before anything changes, for a blueprint that this population cannot train.
        """
        here, place = self.at(lane), self.host.places[slot]
        blueprint.check_fits(place)
        with initialising(derive(here.seed, "seed", slot, here.step_index)):
            module = blueprint.build(place)
        kin = kinship(blueprint, module, self.layout)
        here.lives[slot].fire(Event.GERMINATE, step=here.step_index, reason=f"{blueprint.name}, rate {rate:g}")
        self._plant(lane, slot, Seed(blueprint=blueprint, module=module, rate=rate, born_step=here.step_index))
        problem = probe_at_birth(module, place)
        if problem is None:
            reason = f"shape, finite, identity; family {kin.family.name}"
            here.lives[slot].fire(Event.PROBE_PASSED, step=here.step_index, reason=reason)
        else:
            self.cull(lane, slot, problem)

    def fire(self, lane: int, slot: int, event: Event, reason: str) -> None:
        """Let something happen to a seed that leaves its weights alone: ADVANCE, BLENDED, SHADOWED, FOSSILISE."""
        here = self.at(lane)
        here.lives[slot].fire(event, step=here.step_index, reason=reason)

    def cull(self, lane: int, slot: int, reason: str) -> None:
        """Take a live seed out, with its moments, and lay an embargo on its slot."""
        here, config = self.at(lane), self.config
        here.lives[slot].fire(Event.CULL, step=here.step_index, reason=reason)
        self._clear(lane, slot)
        here.lives[slot].fire(Event.EMBARGO, step=here.step_index, reason=f"{config.embargo_windows} windows")
        here.embargo[slot] = here.step_index + config.embargo_windows * config.window

    def release(self, lane: int) -> None:
        """Free the slots of a lane whose embargo has ended."""
        here = self.at(lane)
        for slot in here.slots_in(State.EMBARGOED):
            if here.step_index >= here.embargo.get(slot, 0):
                here.lives[slot].fire(Event.RELEASE, step=here.step_index, reason="embargo over")

    @torch.no_grad()
    def score(self, split: Labelled, alphas: Sequence[Sequence[float]] | None = None) -> list[Scores]:
        """Outcome of every lane on a split, with other blending factors (lanes x slots) if given; empty lanes too."""
        rest = (0.0,) * self.layout.slots
        if alphas is None:
            alphas = [rest if lane is None else lane.alphas() for lane in self.lanes]
        families, where = len(self.layout.families), self.engine.device
        factors = torch.zeros(families, len(self), self.layout.slots, dtype=self.data.variants.dtype)
        for number, lane in enumerate(self.lanes):
            for slot, seed in enumerate(() if lane is None else lane.seeds):
                if seed is not None:
                    factors[seed.family, number, slot] = alphas[number][slot]
        slots = tuple(factors.any(0).any(0).nonzero()[:, 0].tolist())
        x, y = split.x.flatten(1).to(where), split.y.to(where)
        logits = self.engine.logits(x, factors[..., None, None].to(where), slots)
        losses = F.cross_entropy(logits, y.expand(len(self), -1), reduction="none").mean(1).tolist()
        sureness = logits.softmax(1).gather(1, y.expand(len(self), 1, -1))[:, 0].cpu()
        correct = (logits.argmax(1) == y).cpu()
        return [
            Scores(correct=right, sureness=sure, loss=loss)
            for right, sure, loss in zip(correct, sureness, losses, strict=True)
        ]

    def layers(self, lane: int) -> list[Layer]:
        """Closed-form cost of a lane's network with all its seeds."""
        own = [layer for piece in self.host.layers for layer in piece]
        for slot, seed in enumerate(self.at(lane).seeds):
            if seed is not None:
                own.extend(seed.blueprint.layers(self.host.places[slot]))
        return own

    def to_network(self, lane: int, *, audit: Callable[[Transition], None] = lambda transition: None) -> GrownNetwork:
        """A lane as modules on the CPU: weights, seeds, blending factors and states; ready to export or to train on."""
        here, host = self.at(lane), _new_host(self._build, 0)
        read(self.engine.net.trunk, lane, trunk_parts(host.trunk))
        network = GrownNetwork(host, audit)
        for slot, occupant in enumerate(here.seeds):
            network.lives[slot].rewind(here.lives[slot].state)
            if occupant is None:
                continue
            with initialising(0):
                module = occupant.blueprint.build(host.places[slot])
            parts = KIN[type(module)].parts(module)
            read(self.engine.net.seeds[slot][occupant.family], lane, parts)
            network.plant(
                slot,
                Seed(
                    blueprint=occupant.blueprint,
                    module=module,
                    rate=occupant.rate,
                    born_step=occupant.born_step,
                    alpha=occupant.alpha,
                    blend_position=occupant.blend_position,
                    evidence=occupant.evidence,
                ),
            )
        return network

    def load(
        self, lane: int, network: GrownNetwork, *, seed: int, step: int = 0, learning_rate: float | None = None
    ) -> None:
        """Put a network into a lane: `to_network` the other way round, with fresh moments and generators.

        Raises IncompatibleError, before anything changes, for a host or a seed that this population cannot train.
        """
        self._check_same(network.host)
        seeds = [(slot, planted) for slot, planted in enumerate(network.seeds) if planted is not None]
        for _, planted in seeds:
            kinship(planted.blueprint, planted.module, self.layout)
        self.fill(lane, seed=seed, learning_rate=learning_rate, host=network.host)
        self.at(lane).step_index = step
        for slot, planted in seeds:
            self._plant(lane, slot, planted)
        for slot, life in enumerate(network.lives):
            self.at(lane).lives[slot].rewind(life.state)

    def _plant(self, lane: int, slot: int, seed: Seed) -> None:
        kin = kinship(seed.blueprint, seed.module, self.layout)
        family = self.layout.families.index(kin.family)
        self._clear(lane, slot)
        write(self.engine.net.seeds[slot][family], lane, kin.parts(seed.module))
        self.at(lane).seeds[slot] = Occupant(
            blueprint=seed.blueprint,
            family=family,
            toll=charges.toll(seed.blueprint.layers(self.host.places[slot])),
            rate=seed.rate,
            born_step=seed.born_step,
            alpha=seed.alpha,
            blend_position=seed.blend_position,
            evidence=seed.evidence,
        )

    def _clear(self, lane: int, slot: int) -> None:
        """An empty slot: weights of nought, fresh moments."""
        self.at(lane).seeds[slot] = None
        self.engine.seeds.params[lane, slot] = 0
        self.engine.seeds.forget(lane, slot)

    def _check_same(self, host: Host) -> None:
        other = Layout.of(host, families=self.layout.families, inner=self.layout.inner)
        if other != self.layout:
            raise IncompatibleError(
                f"host '{host.name}' does not fit the lanes of a population of '{self.host.name}'",
                hint="all lanes share one shape: make a population for each",
            )


def _new_host(build: Callable[[], Host], seed: int) -> Host:
    with initialising(seed):
        return build()
