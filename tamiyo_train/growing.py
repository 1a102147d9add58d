"""The final growth: the longest job of a run, which keeps its place as it goes and can be taken up again there.

Every `KEEP_EVERY` windows the whole state goes to a file; the state in which consolidation began stays in another,
since consolidation can be taken back as a whole. An episode taken up from them ends bit-equal to one that never
stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError
from tamiyo_runtime.contracts.observation import INTENSITIES, Operation
from tamiyo_train import tensorfile
from tamiyo_train.audit_file import NAME as AUDIT
from tamiyo_train.audit_file import AuditFile
from tamiyo_train.codec import Tensors, decode, encode
from tamiyo_train.config import TrainConfig
from tamiyo_train.env import GrowthEnv, Outcome, WindowReport
from tamiyo_train.evaluation import configurations, network_result, paired_accuracy_gain, score, without
from tamiyo_train.events import EventLog
from tamiyo_train.footprint import Footprint
from tamiyo_train.jobs import POLICY, SCHEDULE, decider, drawing_from, environment, rebuilt
from tamiyo_train.policy.actions import Action, Decider, Observation
from tamiyo_train.policy.experience import Experience, Recorder
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.scheduled import Scheduled
from tamiyo_train.pool import Counter
from tamiyo_train.regions import shipped
from tamiyo_train.resume import restore, state_of
from tamiyo_train.run import ConfigurationRecord, NetworkResult, SeedRecord, WindowRecord
from tamiyo_train.seeding import derive
from tamiyo_train.work import Work

KEEP_EVERY = 2
"""Windows between two states that are kept."""
STATE, SOUND = "growth-state", "growth-sound"
"""Files of the present state, and of the one in which consolidation began."""
_Seen = tuple[tuple[Observation, Action], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """The final episode: the committed network, its record, and what the decider saw.

    ``seeds``: in the slots of the host; ``inner_seeds``: inside others, each after the one around it.
    """

    network: dict[str, torch.Tensor]
    seeds: tuple[SeedRecord, ...]
    inner_seeds: tuple[SeedRecord, ...]
    history: tuple[WindowRecord, ...]
    audit: tuple[dict[str, object], ...]
    configurations: tuple[ConfigurationRecord, ...]
    result: NetworkResult
    experience: Experience
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What growth does beside growing: count its steps, keep its place in a folder, write events to another."""

    counter: Counter | None = None
    work: Path | None = None
    events: Path | None = None


class _Place:
    """Where an episode stands, on disk."""

    def __init__(self, folder: Path, env: GrowthEnv, recorder: Recorder) -> None:
        self._state, self._sound = (folder / f"{name}.safetensors" for name in (STATE, SOUND))
        self._env, self._recorder = env, recorder
        self._windows = 0

    def take_up(self) -> None:
        """Bring the episode to the state that was kept, if one was."""
        try:
            sound, state = (tensorfile.read(path) if path.exists() else None for path in (self._sound, self._state))
            if sound is not None:
                self._restore(*sound)
                self._env.begin_consolidation()
            if state is not None and (sound is None or _step(state) > _step(sound)):
                self._restore(*state)
        except SchemaError as exc:
            raise IntegrityError(
                f"{self._state.parent} cannot be taken up: {exc.message}",
                hint="it was written by another version of tamiyo; start anew with --overwrite",
            ) from exc

    def keep(self) -> None:
        """A window is over: keep the state if it is time to."""
        self._windows += 1
        if self._windows >= KEEP_EVERY and self._env.unsuspecting:
            self._windows = 0
            self._write(self._state)

    def keep_sound(self) -> None:
        """Consolidation begins here: keep what it may be taken back to."""
        if not self._sound.exists():
            self._write(self._sound)

    def _write(self, path: Path) -> None:
        document, tensors = state_of(self._env)
        seen = encode(self._recorder.seen, tensors, path="seen")
        tensorfile.write(path, {"state": document, "seen": seen}, tensors)

    def _restore(self, document: Mapping[str, Any], tensors: Tensors) -> None:
        restore(self._env, document["state"], tensors)
        seen: _Seen = decode(_Seen, document["seen"], tensors, path="seen")
        self._recorder.replay(seen[len(self._recorder.seen) :])


def kept_steps(work: Work) -> int:
    """Training steps that need not be done again.

    When one of the states is damaged both are dropped, which is said, and nothing is left. A damaged log is dropped as
    well: what is true of it is in the states or is told again.
    """
    work.check_log(AUDIT)
    states = {name: work.sound(name) for name in (SOUND, STATE) if work.path(name).exists()}
    if None in states.values():
        for name in (SOUND, STATE):
            work.drop(name)
        return 0
    return max((_step(state) for state in states.values()), default=0)


def _step(found: tuple[dict[str, Any], Tensors] | None) -> int:
    return 0 if found is None else int(found[0]["state"]["trainer"]["step_index"])


def grow(
    config: TrainConfig, method: str, policy: Mapping[str, torch.Tensor] | None, beside: Beside | None = None
) -> Grown:
    """Run the final episode, in which ``method`` makes the decisions; from where it stood, if its place was kept."""
    beside = beside or Beside()
    with contextlib.ExitStack() as stack:
        stack.enter_context(drawing_from(config, "final"))
        audit = None if beside.work is None else stack.enter_context(AuditFile(beside.work / AUDIT))
        allocator = shipped.allocator() if method == POLICY else None
        env = environment(config, config.final, seed=derive(config.seed, "final"), audit=audit, allocator=allocator)
        return _grown(config, env, method, policy, beside)


def _grown(
    config: TrainConfig, env: GrowthEnv, method: str, policy: Mapping[str, torch.Tensor] | None, beside: Beside
) -> Grown:
    network = rebuilt(policy, env.heads) if method == POLICY and policy is not None else None
    recorder = Recorder(_decider(config, method, env, network))
    place = None if beside.work is None else _Place(beside.work, env, recorder)
    if place is not None:
        place.take_up()
    env.trainer.on_step = beside.counter
    outcome = _played(env, recorder, place, beside)
    return Grown(
        network={name: tensor.detach().clone() for name, tensor in env.network.state_dict().items()},
        seeds=tuple(_seed_record(env, slot) for slot in outcome.fossilised if slot < env.network.host.slots),
        inner_seeds=_inner_seeds(env, outcome),
        history=history_of(env),
        audit=tuple(asdict(entry) for entry in env.audit.entries),
        configurations=configurations(env.network, env.trainer.data),
        result=network_result(env.network, env.trainer.data, env.trainer.training_macs, config.final.total_steps),
        experience=recorder.experience(env.windows, outcome),
        outcome=outcome,
    )


def _decider(config: TrainConfig, method: str, env: GrowthEnv, policy: PolicyNetwork | None) -> Decider:
    if method == SCHEDULE:
        names = [blueprint.name for blueprint in env.gardener.blueprints]
        return Scheduled(config.schedule, blueprints=names, window_steps=config.final.window)
    seed = derive(config.seed, "decider") % 2**32
    return decider(method, seed=seed, heads=env.heads, policy=policy, regions=env.steward.regions)


def _played(env: GrowthEnv, recorder: Recorder, place: _Place | None, beside: Beside) -> Outcome:
    with contextlib.ExitStack() as stack:
        events = None if beside.events is None else stack.enter_context(EventLog(beside.events))
        if events is not None:
            for record in history_of(env):
                events.window(record)
        while not env.done:
            env.act(recorder.decide(env.observe()))
            if events is not None:
                events.window(history_of(env)[-1])
            if place is not None:
                place.keep()
    env.begin_consolidation()
    if place is not None:
        place.keep_sound()
    while not env.settled:
        env.consolidate_window()
        if place is not None:
            place.keep()
    return env.finish()


def history_of(env: GrowthEnv) -> tuple[WindowRecord, ...]:
    """The learning curve of an episode so far."""
    names = [blueprint.name for blueprint in env.gardener.blueprints]
    return tuple(_window_record(window, names) for window in env.windows)


def _inner_seeds(env: GrowthEnv, outcome: Outcome) -> tuple[SeedRecord, ...]:
    """By depth and path: a number says nothing of the order, for numbers are given anew."""
    slots = [slot for slot in outcome.fossilised if slot >= env.network.host.slots]
    paths = {slot: env.network.lives[slot].path for slot in slots}
    slots.sort(key=lambda slot: (paths[slot].count("."), paths[slot]))
    return tuple(replace(_seed_record(env, slot), path=paths[slot]) for slot in slots)


def _seed_record(env: GrowthEnv, slot: int) -> SeedRecord:
    network, split = env.network, env.trainer.data.validation
    seed, alphas = network.seed_at(slot), network.alphas()
    gain, low = paired_accuracy_gain(
        score(network, split), score(network, split, without(alphas, slot)), confidence=env.config.confidence
    )
    own = Footprint.of(network.layers_at(slot, seed.blueprint))
    return SeedRecord(
        slot=slot,
        blueprint=seed.blueprint.name,
        rate=seed.rate,
        contribution=gain,
        contribution_low=low,
        params=own.params,
        macs=own.macs,
    )


def _window_record(window: WindowReport, names: Sequence[str]) -> WindowRecord:
    action = window.action
    acts, grows = action.operation is not Operation.WAIT, action.operation is Operation.GERMINATE
    return WindowRecord(
        step=window.step,
        operation=action.operation.name.lower(),
        slot=action.slot if acts else None,
        blueprint=names[action.blueprint] if grows else None,
        intensity=INTENSITIES[action.intensity] if grows else None,
        loss=window.loss,
        accuracy=window.accuracy,
        params=window.params,
        drift=window.drift,
        panics=window.panics,
        alphas=window.alphas,
        learning_rate=window.learning_rate,
    )
