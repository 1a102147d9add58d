"""Growth episodes of many hosts at once: the environment a policy learns in, with observations and rewards as tensors.

`GrowthEnv` for N lanes in step: the same observation layout, the same masks from slot states, computed costs and
measured gains, the same life cycle, gates, training and utility. A test plays both side by side. Lanes share a host's
shape; each has a task of its own among several of that shape, a profile, a budget, and seeds for its weights and its
batches.

What is simpler than there: the horizon has no consolidation; a seed needs one evaluation and none is retired; a panic
is noticed at the end of its window and goes back to the window's start, whatever the state was like there; slots inside
seeds and learned gates do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.observation import INTENSITIES, Heads, Operation
from tamiyo_train import charges
from tamiyo_train.blueprints import Blueprint
from tamiyo_train.config import Episode
from tamiyo_train.costs import footprint_in
from tamiyo_train.data import Labelled, Tensors
from tamiyo_train.gardener import learning_rate_of
from tamiyo_train.hosts import Host
from tamiyo_train.population.cost_table import CostTable
from tamiyo_train.population.draws import Draws, hashed_rows, stream_rows
from tamiyo_train.population.engine import Engine
from tamiyo_train.population.episodes import check_played
from tamiyo_train.population.families import FAMILIES
from tamiyo_train.population.growth_state import Lanes, Phase, Result, Seen, Slots, legal
from tamiyo_train.population.lanes import Lane
from tamiyo_train.population.layout import Layout
from tamiyo_train.population.nursery import Nursery
from tamiyo_train.population.observing import observed
from tamiyo_train.population.plan import Outline, Planner
from tamiyo_train.population.sensing import Outcome, Sensed, answered, sense
from tamiyo_train.population.state import Start
from tamiyo_train.population.watching import Watches
from tamiyo_train.seeding import initialising

Tensor = torch.Tensor


class TensorGrowth:
    """N episodes in step. ``taught``: numbers, in ``blueprints``, of those that lanes can grow; the others are masked.

    ``tasks``: data of one shape and size, taken as it comes, without augmentation. Raises IncompatibleError for hosts
    that are no perceptrons, and for an episode with consolidation, gate dropout, retirement or whatever else
    `check_played` names.
    """

    def __init__(
        self,
        build: Callable[[], Host],
        tasks: Sequence[Tensors],
        config: Episode,
        *,
        blueprints: Sequence[Blueprint],
        taught: Sequence[int],
        profiles: Sequence[str | None],
        device: str = "cpu",
        draws: Draws = Draws.HASHED,
    ) -> None:
        check_played(config)
        with initialising(0):
            self.host = build()
        tasks = [replace(data, variants=data.variants[data.still][None], still=0) for data in tasks]
        self.config, self.tasks, self.draws = config, tuple(tasks), draws
        self.device = torch.device(device)
        self.blueprints, self.taught = tuple(blueprints), tuple(taught)
        self.heads = Heads(slots=self.host.slots, blueprints=len(blueprints))
        grown = [self.blueprints[number] for number in taught]
        width = self.host.places[0].writable
        families = (FAMILIES["residual"], FAMILIES["glu"])
        self.layout = Layout.of(self.host, families=families, inner=4 * width)
        dtype = tasks[0].variants.dtype
        self.nursery = Nursery(build, self.layout, grown, dtype=dtype)
        self.table = CostTable.of(self.host, grown, profiles, device=device)
        self._trunk = charges.tolls(self.host.layers).to(self.device)
        self._families = torch.tensor([-1, *self.nursery.families], device=self.device)
        self._inputs = torch.cat([data.variants[0].flatten(1) for data in tasks]).to(self.device)
        self._labels = torch.cat([data.train_y for data in tasks]).to(self.device)
        self._splits = {name: self._stacked(name) for name in ("gate", "score", "test")}
        self._params = torch.tensor(
            [[0 if b.misfit(p) else footprint_in(b.layers, p).params for b in blueprints] for p in self.host.places],
            device=self.device,
        )
        self._engines: dict[int, Engine] = {}
        self.planner = Planner(
            config,
            tasks[0],
            families=len(families),
            trunk=self._trunk,
            draws=draws,
            device=self.device,
        )

    def reset(self, lanes: Lanes) -> Seen:
        """Start an episode in every lane; as many lanes as once before reuse what was captured then."""
        count, device = len(lanes.init), self.device
        if count not in self._engines:
            self._engines[count] = Engine(
                self.layout, self.config, lanes=count, inputs=self._inputs, labels=self._labels
            )
        self.lanes, self.engine = lanes, self._engines[count]
        engine = self.engine
        for block in (engine.hosts, engine.seeds):
            for tensor in (block.params, block.grads, block.mean, block.square):
                tensor.zero_()
        engine.hosts.params.copy_(torch.stack([self.nursery.host(init) for init in lanes.init]))
        self._streams = [_stream(seed, self.host.slots) for seed in lanes.seed] if self.draws is Draws.STREAM else []
        self._seed = torch.tensor([seed & 0x7FFFFFFF for seed in lanes.seed], device=device)
        self.task, self.profile, self.budget = (t.to(device) for t in (lanes.task, lanes.profile, lanes.budget))
        self.slots = Slots.empty(count, self.host.slots, device)
        self.watches = Watches.fresh(count, self.config.limits, device)
        self.graded = torch.zeros_like(self.slots.live)
        self.window = self.step = 0
        self.events, self.culled, self.training_macs, self.reading_macs, self.halvings = (
            torch.zeros(count, dtype=torch.int64, device=device) for _ in range(5)
        )
        self.curve = torch.full((count, 3), torch.nan, dtype=torch.float64, device=device)
        self.training_accuracy = torch.full((count,), torch.nan, dtype=torch.float64, device=device)
        self._measure()
        self.seen = observed(self)
        return self.seen

    @torch.no_grad()
    def commit(self, codes: Tensor) -> None:
        """Plant a topology, codes (N, S), as part of every host before its first step: the static twin's start."""
        if self.step:
            raise TamiyoError("a topology is committed before the first step", hint="reset first")
        lanes, slot = (codes > 0).nonzero(as_tuple=True)
        numbers = torch.tensor([-1, *self.taught], device=self.device)[codes[lanes, slot]]
        plain = torch.full_like(lanes, INTENSITIES.index(1.0))
        if len(lanes):
            self._germinate(lanes, torch.stack([plain, slot, numbers, plain], 1))
        planted = codes > 0
        self.slots.phase[planted] = int(Phase.FOSSILISED)
        self.slots.alpha[planted] = self.slots.position[planted] = 1.0
        self._measure()
        self.seen = observed(self)

    @property
    def warm(self) -> frozenset[int]:
        """Numbers of lanes for which nothing is left to be captured on the device; on the CPU nothing ever is."""
        return frozenset(self._engines) if self.device.type == "cuda" else frozenset()

    @property
    def done(self) -> bool:
        """Whether all decisions were made."""
        return self.window >= self.config.decisions

    @property
    def cost(self) -> Tensor:
        """Cost of every network with all its seeds, (N, limits)."""
        return self.table.of_lanes(self.profile, self.slots.code)

    @torch.no_grad()
    def act(self, actions: Tensor) -> Seen:
        """Carry out an action a lane, (N, 4) int64 of operation, slot, blueprint and intensity, and train one window.

        Raises TamiyoError when one of them is not allowed, changing nothing.
        """
        if self.done or not bool(legal(actions, self.seen).all()):
            raise TamiyoError("an action is not allowed now", hint="take actions from what the masks allow")
        self._carry_out(actions)
        freed = (self.slots.phase == Phase.EMBARGOED) & (self.slots.embargo <= self.step)
        self.slots.phase[freed] = Phase.DORMANT
        self._train()
        self._measure()
        self._restrain()
        self._settle()
        self.window += 1
        self.seen = observed(self)
        return self.seen

    @torch.no_grad()
    def finish(self) -> Result:
        """Value the committed networks: host and fossilised seeds."""
        fossilised = self.slots.phase == Phase.FOSSILISED
        alphas = fossilised.double()
        return Result(
            accuracy=self._answered("score", alphas).accuracy,
            test_accuracy=self._answered("test", alphas).accuracy,
            cost=self.table.of_lanes(self.profile, torch.where(fossilised, self.slots.code, 0)),
            events=self.events,
            training_macs=self.training_macs,
            training_ratio=self.training_macs.double() / charges.alone(self.host, self.config),
            fossilised=fossilised,
        )

    def _stacked(self, name: str) -> tuple[Tensor, Tensor]:
        splits: list[Labelled] = [getattr(data, name) for data in self.tasks]
        x = torch.stack([split.x.flatten(1).t() for split in splits])
        return x.to(self.device), torch.stack([split.y for split in splits]).to(self.device)

    def _answered(self, name: str, alphas: Tensor) -> Outcome:
        x, y = self._splits[name]
        return answered(self.engine, x[self.task], y[self.task], alphas, self.slots.family)[0]

    def _carry_out(self, actions: Tensor) -> None:
        slots, operation = self.slots, actions[:, 0]
        for wanted, phase in ((Operation.ADVANCE, Phase.BLENDING), (Operation.FOSSILISE, Phase.FOSSILISED)):
            lanes = (operation == wanted).nonzero()[:, 0]
            slots.phase[lanes, actions[lanes, 1]] = phase
        pruned = torch.zeros_like(slots.live)
        lanes = (operation == Operation.PRUNE).nonzero()[:, 0]
        pruned[lanes, actions[lanes, 1]] = True
        self._cull(pruned)
        lanes = (operation == Operation.GERMINATE).nonzero()[:, 0]
        if len(lanes):
            self._germinate(lanes, actions[lanes])

    def _germinate(self, lanes: Tensor, actions: Tensor) -> None:
        slots, block = self.slots, self.engine.seeds
        slot, blueprint, intensity = actions[:, 1], actions[:, 2], actions[:, 3]
        born, rates, codes = [], [], []
        for row, where, number, eager in zip(*(t.tolist() for t in (lanes, slot, blueprint, intensity)), strict=True):
            index = self.taught.index(number)
            born.append(self.nursery.newborn(self.lanes.init[row], where, self.step, index))
            rates.append(learning_rate_of(self.blueprints[number], eager))
            codes.append(1 + index)
        at = (lanes, slot)
        block.params[at] = torch.stack(born).to(block.params)
        for moments in (block.mean, block.square, block.grads):
            moments[at] = 0
        code = torch.tensor(codes, device=self.device)
        slots.phase[at], slots.code[at], slots.family[at] = int(Phase.TRAINING), code, self._families[code]
        slots.rate[at] = torch.tensor(rates, dtype=torch.float64, device=self.device)
        slots.born[at] = self.step
        slots.alpha[at] = slots.position[at] = 0.0
        slots.updates[lanes, 1 + slot] = 0

    def _cull(self, which: Tensor, *, step: int | None = None) -> None:
        """Take seeds out, (N, S) bool, and lay an embargo on their slots, from the present step unless given."""
        slots, block = self.slots, self.engine.seeds
        for tensor in (block.params, block.mean, block.square, block.grads):
            tensor.masked_fill_(which[..., None], 0)
        slots.phase[which], slots.code[which], slots.family[which] = int(Phase.EMBARGOED), 0, -1
        slots.alpha[which] = slots.position[which] = 0.0
        slots.embargo[which] = (self.step if step is None else step) + self.config.embargo_windows * self.config.window
        self.culled += which.sum(1)

    def _train(self) -> None:
        """One window of every lane; where the governor panics, back to its start, less the seed to blame."""
        config, engine, steps = self.config, self.engine, self.config.window
        self._snapshot = self._copied()
        held = (self.sensed.drift_p95 > config.limits.drift_hold) | (
            self.sensed.log_norm_ratio.abs() > config.limits.norm_hold
        )
        start = self._start(held)
        full = torch.ones(1, 1, self.host.slots, dtype=torch.bool, device=self.device)
        plan, end = self.planner.lay_out(start, self._rows(steps), full)
        everywhere = tuple(range(self.host.slots))
        if self.device.type == "cuda":  # one graph for all windows
            outline = Outline(steps=steps, slots=everywhere, training=everywhere)
        else:
            there, training = ((t.any(0).nonzero()[:, 0].tolist()) for t in (start.family >= 0, start.training))
            outline = Outline(steps=steps, slots=tuple(there), training=tuple(training))
        window = engine.run(plan, outline)
        self.slots.updates, self.slots.alpha, self.slots.position = end.updates, end.alpha, end.position
        self.graded = start.training | (end.alpha > 0)
        self.training_macs += end.training_macs.long()
        self.step += steps
        newborns = start.training.any(1) & ~window.seed_losses.isfinite().all(0)
        sound = torch.stack(
            [t.isfinite().flatten(1).all(1) for b in (engine.hosts, engine.seeds) for t in (b.params, b.square)]
        ).all(0)
        panics = self.watches.judge(window.losses, config.limits) | newborns | ~sound
        self._take_back(panics, self._youngest())
        share = window.correct.double().mean(0) / config.batch
        shifted = torch.cat([window.losses.double().mean(0)[:, None], self.curve[:, :2]], 1)
        self.curve = torch.where(panics[:, None], self.curve, shifted)
        self.training_accuracy = torch.where(panics, self.training_accuracy, share)

    def _start(self, held: Tensor) -> Start:
        slots, config, count = self.slots, self.config, len(self.task)
        low, high = 0.5, 2.0
        rise = 1 / (config.blend_windows * config.window / slots.rate.clamp(low, high)).clamp_min(1.0)
        whole = torch.full((count,), self.step, device=self.device)
        return Start(
            seed=self._seed,
            step=whole,
            own=config.total_steps - whole,
            learning_rate=config.learning_rate * 0.5 ** self.halvings.double(),
            updates=slots.updates,
            family=slots.family,
            born=slots.born,
            rate=slots.rate,
            tolls=self._tolls(),
            alpha=slots.alpha,
            position=slots.position,
            rise=rise,
            rising=(slots.phase == Phase.BLENDING) & ~held,
            training=slots.phase == Phase.TRAINING,
            droppable=torch.zeros_like(held),
        )

    def _rows(self, steps: int) -> Tensor:
        """Samples of the window, (W, N, B), among those of all tasks."""
        data, batch = self.tasks[0], self.config.batch
        if self.draws is Draws.STREAM:
            rows = stream_rows(self._streams, [steps] * len(self._streams), steps, self.config, data).to(self.device)
        else:
            done = torch.arange(steps, device=self.device)[:, None]
            rows = hashed_rows(self._seed, (self.step + done).expand(-1, len(self._seed)), batch, data)
        return rows + (self.task * len(data.train_y))[:, None]

    def _copied(self) -> tuple[Tensor, ...]:
        blocks, slots = (self.engine.hosts, self.engine.seeds), self.slots
        tensors = [t for block in blocks for t in (block.params, block.mean, block.square)]
        return tuple(t.clone() for t in (*tensors, slots.alpha, slots.position, slots.updates))

    def _take_back(self, which: Tensor, blamed: Tensor) -> None:
        """Restore lanes (N,) bool to the start of the window, cull the seeds to blame (N, S), or halve the rate."""
        if not bool(which.any()):
            return
        blocks, slots = (self.engine.hosts, self.engine.seeds), self.slots
        tensors = [t for block in blocks for t in (block.params, block.mean, block.square)]
        for tensor, kept in zip((*tensors, slots.alpha, slots.position, slots.updates), self._snapshot, strict=True):
            tensor[which] = kept[which]
        blamed = blamed & which[:, None]
        self._cull(blamed & slots.live, step=self.step - self.config.window)
        self.halvings += which & ~blamed.any(1)
        self.events += which
        self.watches.forget(which)

    def _youngest(self) -> Tensor:
        """The live seed of each lane that was born last, (N, S) bool, the first of several."""
        born = torch.where(self.slots.live, self.slots.born, -1)
        first = torch.nn.functional.one_hot(born.argmax(1), born.shape[1]).bool()
        return first & self.slots.live

    def _measure(self) -> None:
        x, y = self._splits["gate"]
        self.sensed: Sensed = sense(
            self.engine,
            x[self.task],
            y[self.task],
            alphas=self.slots.alpha,
            family=self.slots.family,
            confidence=self.config.confidence,
        )
        taken = charges.reading_pass(self._trunk, self._tolls(), self.slots.alpha > 0, self.slots.code > 0)
        self.reading_macs += x.shape[-1] * taken

    def _tolls(self) -> Tensor:
        """Tolls of what is in the slots, (4, N, S)."""
        numbers = torch.arange(self.host.slots, device=self.device)
        return self.table.seed_tolls[:, numbers, self.slots.code]

    def _restrain(self) -> None:
        """Take back what drifts critically, blaming the first slot that does."""
        limits, sensed = self.config.limits, self.sensed
        touching = (self.slots.phase == Phase.BLENDING) | (self.slots.phase == Phase.PROBATION)
        figures = sensed.drift_p95 + sensed.log_norm_ratio
        critical = (sensed.drift_p95 >= limits.drift_critical) | (sensed.log_norm_ratio.abs() >= limits.norm_critical)
        beyond = touching & (critical | ~figures.isfinite())
        if bool(beyond.any()):
            self._take_back(beyond.any(1), beyond & (beyond.cumsum(1) == 1))
            self._measure()

    def _settle(self) -> None:
        """Fully blended seeds go on probation, unless what they make is not finite."""
        blended = (self.slots.phase == Phase.BLENDING) & (self.slots.alpha == 1.0)
        sound = self.sensed.present_loss.isfinite()
        self.slots.phase[blended & sound] = Phase.PROBATION
        if bool((blended & ~sound).any()):
            self._cull(blended & ~sound)


def _stream(seed: int, slots: int) -> Lane:
    return Lane.new(0, seed=seed, learning_rate=0.0, slots=slots, audit=lambda lane, transition: None)
