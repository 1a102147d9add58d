"""Random events drive life cycles, gardener and guard: no illegal state, no lost snapshot, an unbroken audit chain."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.audit import verify
from tamiyo_train.blueprints import blueprints
from tamiyo_train.config import Episode
from tamiyo_train.data import data_of
from tamiyo_train.env import GrowthEnv
from tamiyo_train.jobs import offered
from tamiyo_train.lifecycle import LIVE, TRANSITIONS, Event, State
from tamiyo_train.policy.actions import Action
from tamiyo_train.pricing import Pricer
from tamiyo_train.snapshot import digest
from tests.unit.tamiyo_train.helpers import new_host

CONFIG = Episode(steps=400, decisions=200, consolidation_steps=0, batch=16, blend_windows=1.0, nested_slots=2)


class Growth(RuleBasedStateMachine):
    """Actions, legal and not, faults, and retirements in any order."""

    @initialize()
    def build(self):
        host, pricer = new_host(), Pricer(None)
        self.env = GrowthEnv(
            host=host,
            data=data_of("digits"),
            config=CONFIG,
            blueprints=(*offered(host), blueprints.get("nested")),
            pricer=pricer,
            budget=pricer.default_budget(host.layers),
            seed=0,
        )
        self.restored = []
        self.marked = {}
        self.env.on_restored = lambda: self.restored.append(digest(self.env.trainer))

    @rule(
        operation=st.sampled_from(Operation),
        slot=st.integers(-1, 6),
        blueprint=st.integers(0, 6),
        intensity=st.integers(0, 4),
    )
    def act(self, operation, slot, blueprint, intensity):
        before, entries = digest(self.env.trainer), len(self.env.audit.entries)
        action = Action(operation=operation, slot=slot, blueprint=blueprint, intensity=intensity)
        try:
            self.env.act(action)
        except (TamiyoError, IndexError):
            assert digest(self.env.trainer) == before
            assert len(self.env.audit.entries) == entries

    @rule(slot=st.integers(0, 5))
    def hurry(self, slot):
        """Take a seed on in its life, past the gates of what it is worth."""
        env, life = self.env, self.env.network.lives[slot]
        if life.state is State.TRAINING:
            env.gardener.advance(env.reading, slot)
        elif life.state is State.PROBATIONARY:
            env.gardener.fossilise(env.reading, slot)

    @rule(slot=st.integers(0, 5), value=st.sampled_from([float("nan"), float("inf")]))
    def poison(self, slot, value):
        seed = self.env.network.seeds[slot]
        if seed is None or self.env.done:
            return
        self.env.mark()
        events = self.env.safety_events
        with torch.no_grad():
            next(seed.module.parameters()).view(-1)[0] = value
        assert self.env.train(2) is None
        assert self.env.safety_events == events + 1
        self.env.measure()

    @rule()
    def retire(self):
        self.env.retire_idle()

    @invariant()
    def every_slot_holds_a_seed_exactly_when_its_state_says_so(self):
        if not hasattr(self, "env"):
            return
        network = self.env.network
        for life, seed in zip(network.lives, network.seeds, strict=True):
            assert (seed is not None) == (life.state in LIVE or life.state is State.FOSSILISED), life.state
            assert life.state is not State.GERMINATED
            assert life.state is not State.CULLED
        groups = {group["name"] for group in self.env.trainer.optimiser.param_groups}
        assert groups == {"host", *(f"seed_{s}" for s, seed in enumerate(network.seeds) if seed is not None)}

    @invariant()
    def the_network_is_sound_and_within_its_budget(self):
        if not hasattr(self, "env"):
            return
        assert all(bool(torch.isfinite(param).all()) for param in self.env.network.parameters())
        assert self.env.gardener.within_budget()
        assert np.isfinite(self.env.observe().vector).all()

    @invariant()
    def every_rollback_brought_back_the_snapshot_it_named(self):
        if not hasattr(self, "env"):
            return
        named = [e.data["state"] for e in self.env.audit.entries if e.kind == "rollback" and "panic" in e.data]
        assert self.restored == named

    @invariant()
    def the_audit_leads_from_dormant_to_the_present_states(self):
        if not hasattr(self, "env"):
            return
        verify(self.env.audit.entries)
        states: dict[int, State] = {}
        for entry in self.env.audit.entries:
            if entry.kind == "rollback":
                states = {}
                for path, state in entry.data["slots"].items():
                    states[path] = State(state)
            if entry.kind == "transition":
                path = str(entry.data.get("path", entry.data["slot"]))
                assert states.get(path, State.DORMANT) == entry.data["before"]
                states[path] = TRANSITIONS[State(entry.data["before"]), Event(entry.data["event"])]
        for life in self.env.network.lives:
            assert states.get(life.path, State.DORMANT) is life.state


Growth.TestCase.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)
TestGrowth = Growth.TestCase
