"""What passes between the loop and the thread that looks after updates, and that the latter cannot harm the former."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.records import Event, Mode
from tamiyo_runtime.control import Change, Control, Loaded
from tamiyo_runtime.meters import BoardStatus, Usage
from tamiyo_runtime.summary import Tally, Turn
from tamiyo_runtime.update.effect import budget_of
from tamiyo_runtime.update.exchange import Applied, Exchange, Running
from tamiyo_runtime.update.thread import AgentThread
from tests import tiny

RUNNABLES = tiny.make(variants=("float",)).manifest.variants[0].runnables
NOW = Running(
    applied=Applied(sha256="aa" * 32, budget=None, use_policy=True),
    own_budget=Budget(latency_ms=10.0),
    runnables=RUNNABLES,
)
NEXT = replace(NOW, applied=replace(NOW.applied, budget=Budget(latency_ms=5.0)))
CHANGE = Change(budget=Budget(latency_ms=5.0))


def turn(samples: int = 0) -> Turn:
    tally = Tally([runnable.configuration for runnable in RUNNABLES])
    for _ in range(samples):
        tally.samples += 1
        tally.served(1, Usage(3.0, 1.0, Source.SIMULATED, Source.SIMULATED), None, missed=False)
    return Turn(tally, Mode.NORMAL, None, 1.0, BoardStatus(slowdown=1.0, temperature_c=None, throttled=False), None)


@pytest.fixture
def told() -> list[tuple[Event, int, str]]:
    return []


@pytest.fixture
def exchange(told: list[tuple[Event, int, str]]) -> Exchange:
    return Exchange(NOW, lambda *event: told.append(event))


def test_a_change_is_taken_once_and_holds_when_the_loop_had_a_turn_to_object(exchange: Exchange) -> None:
    control: Control = exchange
    assert exchange.holds(NOW.applied)
    exchange.hand(NEXT, CHANGE)
    assert exchange.busy
    assert not exchange.holds(NOW.applied)
    assert control.poll(turn()) is CHANGE
    assert exchange.running is NEXT
    assert not exchange.holds(NEXT.applied)
    assert control.poll(turn()) is None
    assert exchange.holds(NEXT.applied)
    assert exchange.objection() is None


def test_what_the_loop_refuses_was_never_running(exchange: Exchange) -> None:
    exchange.hand(NEXT, CHANGE)
    assert exchange.poll(turn()) is CHANGE
    exchange.refused(CHANGE, "too tight")
    assert exchange.running is NOW
    objection = exchange.objection()
    assert objection is not None
    assert (objection.refused, objection.problem) == (NEXT.applied, "too tight")
    assert exchange.objection() is None


def test_figures_are_of_the_file_that_runs_and_start_again_with_another(exchange: Exchange) -> None:
    sha256 = NOW.applied.sha256
    assert exchange.figures(sha256) is None
    exchange.poll(turn(5))
    figures = exchange.figures(sha256)
    assert figures is not None
    assert (figures.samples, figures.inferences) == (5, 5)
    assert figures.estimate_high_ms == RUNNABLES[1].cost.latency_ms.high
    assert exchange.figures("bb" * 32) is None
    loaded: Any = object.__new__(Loaded)
    exchange.hand(replace(NOW, applied=replace(NOW.applied, sha256="bb" * 32)), Change(loaded=loaded))
    exchange.poll(turn(6))
    assert exchange.figures(sha256) is None


def test_events_are_told_on_the_loops_thread_in_order_short_and_not_without_end(
    exchange: Exchange, told: list[tuple[Event, int, str]]
) -> None:
    for number in range(100):
        exchange.say(Event.UPDATE, number, f"\n{number} " + "ä" * 200)
    assert told == []
    exchange.poll(turn())
    assert [value for _, value, _ in told] == list(range(68, 100))
    assert all(len(detail) == 64 and detail.isascii() and detail.isprintable() for _, _, detail in told)
    exchange.say(Event.ORDER, 1, "policy")
    exchange.drain()
    assert told[-1] == (Event.ORDER, 1, "policy")


@pytest.mark.parametrize(
    ("ordered", "holds"),
    [
        (None, Budget(latency_ms=10.0, power_mw=5.0, energy_burst_uj=9.0, memory_bytes=77, temperature_c=70.0)),
        (Budget(latency_ms=4.0), Budget(latency_ms=4.0, memory_bytes=77, temperature_c=70.0)),
        (
            Budget(power_mw=1.0, energy_burst_uj=2.0),
            Budget(power_mw=1.0, energy_burst_uj=2.0, memory_bytes=77, temperature_c=70.0),
        ),
        (Budget(temperature_c=60.0), Budget(memory_bytes=77, temperature_c=60.0)),
    ],
)
def test_a_limit_that_an_order_leaves_out_is_lifted_but_heat_and_memory_stay_the_bundles(
    ordered: Budget | None, holds: Budget
) -> None:
    own = Budget(latency_ms=10.0, power_mw=5.0, energy_burst_uj=9.0, memory_bytes=77, temperature_c=70.0)
    assert budget_of(ordered, own) == holds


class Steps:
    """Stands in for an agent: fails every other time."""

    fetching = True

    def __init__(self) -> None:
        self.steps = self.nudges = 0
        self.enough = threading.Event()

    def step(self, now_s: float) -> None:
        self.steps += 1
        if self.steps >= 4:
            self.enough.set()
        if self.steps == 1:
            raise RuntimeError("a library broke")

    def nudge(self) -> None:
        self.nudges += 1

    def crashed(self, reason: str, now_s: float) -> bool:
        return reason == "the host failed"


def test_a_step_that_fails_is_told_and_followed_by_the_next_and_a_signal_is_heard() -> None:
    agent: Any = Steps()
    thread = AgentThread(agent)
    thread.start()
    thread.wake()
    assert agent.enough.wait(20.0)
    assert thread.crashed("the host failed")
    assert thread.failure == "RuntimeError: a library broke"
    assert agent.nudges == 1
    taken = agent.steps
    assert thread.close()
    assert agent.steps == taken
