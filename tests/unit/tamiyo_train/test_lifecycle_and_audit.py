"""The life cycle: only the table decides, illegal events change nothing, everything is audited."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train.audit import AuditLog, verify
from tamiyo_train.lifecycle import LIVE, TRANSITIONS, Event, IllegalEventError, LifeCycle, State, allowed, follow

HAPPY = [
    Event.GERMINATE,
    Event.PROBE_PASSED,
    Event.ADVANCE,
    Event.BLENDED,
    Event.SHADOWED,
    Event.FOSSILISE,
]


def test_the_straight_life_visits_every_state_in_order():
    audited = []
    life = LifeCycle(2, audited.append)
    for step, event in enumerate(HAPPY):
        life.fire(event, step=step, reason="")
    assert [t.after for t in audited] == [
        State.GERMINATED,
        State.TRAINING,
        State.BLENDING,
        State.SHADOWING,
        State.PROBATIONARY,
        State.FOSSILISED,
    ]
    assert all(t.slot == 2 for t in audited)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_state_can_be_culled_and_comes_back_after_the_embargo(state):
    path = state
    for event in (Event.CULL, Event.EMBARGO, Event.RELEASE):
        path = follow(path, event, slot=0)
    assert path is State.DORMANT


@pytest.mark.parametrize("state", [State.DORMANT, State.FOSSILISED, State.CULLED, State.EMBARGOED])
def test_what_does_not_live_cannot_be_culled(state):
    assert not allowed(state, Event.CULL)


def test_a_fossilised_seed_can_only_be_retired():
    assert [event for event in Event if allowed(State.FOSSILISED, event)] == [Event.RETIRE]
    assert follow(State.FOSSILISED, Event.RETIRE, slot=0) is State.CULLED


@given(state=st.sampled_from(State), event=st.sampled_from(Event))
def test_an_event_the_table_does_not_list_raises_and_changes_nothing(state, event):
    audited = []
    life = LifeCycle(0, audited.append, state=state)
    if (state, event) in TRANSITIONS:
        life.fire(event, step=1, reason="r")
        assert life.state is TRANSITIONS[state, event]
        assert len(audited) == 1
    else:
        with pytest.raises(IllegalEventError, match=event):
            life.fire(event, step=1, reason="r")
        assert life.state is state
        assert audited == []


def test_when_the_audit_fails_the_state_does_not_change():
    def refuse(transition):
        raise OSError("disk full")

    life = LifeCycle(0, refuse)
    with pytest.raises(OSError, match="disk full"):
        life.fire(Event.GERMINATE, step=0, reason="")
    assert life.state is State.DORMANT


class Lives(RuleBasedStateMachine):
    """Any sequence of events keeps the state and the audit log in step."""

    def __init__(self) -> None:
        super().__init__()
        self.log = AuditLog()
        self.life = LifeCycle(1, self.log.transition)

    @rule(event=st.sampled_from(Event))
    def fire(self, event):
        before = self.life.state
        try:
            self.life.fire(event, step=len(self.log.entries), reason="random")
        except IllegalEventError:
            assert self.life.state is before

    @invariant()
    def the_log_leads_from_dormant_to_the_present_state(self):
        state = State.DORMANT
        for entry in self.log.entries:
            assert entry.data["before"] == state
            state = TRANSITIONS[state, Event(entry.data["event"])]
            assert entry.data["after"] == state
        assert state is self.life.state
        verify(self.log.entries)


TestLives = Lives.TestCase


@given(st.integers(0, 4), st.sampled_from(["data", "kind", "step", "drop", "swap"]))
def test_a_changed_log_is_noticed(index, change):
    log = AuditLog()
    for step in range(5):
        log.append("decision", step=step, operation="wait")
    entries = list(log.entries)
    if change == "drop":
        del entries[index]
        if index == 4:
            return  # a shorter log is a valid prefix: the record's own hash covers its length
    elif change == "swap":
        other = (index + 1) % 5
        entries[index], entries[other] = entries[other], entries[index]
    else:
        changed = {"data": {"operation": "prune"}, "kind": "panic", "step": 99}[change]
        entries[index] = replace(entries[index], **{change: changed})
    with pytest.raises(IntegrityError):
        verify(entries)
