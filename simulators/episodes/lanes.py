"""Run-time episodes: devices that take a sample a period, ask for gates, are granted an option, heat up, drain, report.

`Lanes.observe` gives what the policy of each device would see now, `Lanes.step` takes the gates that it asks for and
lets every device work on one sample. The order within a step is that of `tamiyo_runtime.serving`, and the figures are
those of a `Session` on a `SimulatedBoard`: a test runs both on one seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulators.episodes import boards as boarding
from simulators.episodes import governors as governing
from simulators.episodes import links as linking
from simulators.episodes.boards import Boards, BoardStates
from simulators.episodes.governors import Governors, Met
from simulators.episodes.links import Links, LinkStates
from simulators.episodes.states import RunningStates
from simulators.episodes.tables import Bools, Floats, Ints, Tables
from tamiyo_runtime.governor import SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where lanes begin, shares (lanes,) or one for all: of the bucket, the battery, the link's credit.

    ``temperature_c``: NaN for one that has settled.
    """

    bucket: Floats | float = 1.0
    battery: Floats | float = 1.0
    credit: Floats | float = 1.0
    temperature_c: Floats | float = np.nan


class Outcome(NamedTuple):
    """One sample on each lane: the option that ran (SKIP for none), what it took, whether its answer came late, and
    the accuracy of what ran, 0 where nothing did. ``alive``: the battery still holds."""

    option: Ints
    latency_ms: Floats
    energy_uj: Floats
    missed: Bools
    accuracy: Floats
    alive: Bools


class Lanes:
    """See the module's description. A lane's course does not depend on who is beside it."""

    def __init__(self, tables: Tables, boards: Boards, links: Links, start: Start | None = None) -> None:
        start = start or Start()
        self.tables, self._boards, self._links = tables, boards, links
        self._lanes = np.arange(len(tables))
        self.now_s = np.zeros(len(tables))
        self._index = 0
        self._board: BoardStates = boarding.at_rest(boards, share=start.battery)
        given = np.broadcast_to(np.asarray(start.temperature_c, dtype=np.float64), len(tables))
        settled = self._board.temperature_c
        self._board = self._board._replace(temperature_c=np.where(np.isnan(given), settled, given))
        self._link: LinkStates = linking.fresh(links, share=start.credit)
        governor = governing.start(tables, self.now_s * 1e3)
        finite = np.isfinite(tables.burst_uj)
        bucket = np.where(finite, np.where(finite, tables.burst_uj, 0.0) * start.bucket, np.inf)
        self._governor: Governors = governor._replace(bucket_uj=bucket)
        self._weights = 1 << np.arange(tables.gates.shape[2])[::-1]

    def __len__(self) -> int:
        return len(self.tables)

    @property
    def slowdown(self) -> Floats:
        """Of the boards, as `BoardStatus` tells it."""
        return self._boards.stretch[self._lanes, self._board.step]

    @property
    def boards(self) -> Boards:
        """What the devices are at present."""
        return self._boards

    def under(self, boards: Boards) -> None:
        """Go on on these boards: other weather, another harvest, a script that slows them. States stay as they are."""
        self._boards = boards

    @property
    def bucket(self) -> Floats:
        """Level of the energy buckets now, 0..1; 1 without a limit."""
        return governing.fill(self.tables, self._governor, self.now_s * 1e3)

    @property
    def draw(self) -> Floats:
        """Energy of an inference at the present clock over that at the rated one, all of it being clocked."""
        return self.slowdown * self._boards.active_mw[self._lanes, self._board.step] / self._boards.rated_mw

    @property
    def battery(self) -> Floats:
        """Share of the charge that is left, 1 without a battery."""
        if self._board.charged is None or self._boards.battery is None:
            return np.ones(len(self))
        return self._board.charged.charge_mah / self._boards.battery.capacity_mah

    def observe(self) -> RunningStates:
        """What the policies see now."""
        tables, lanes = self.tables, self._lanes
        current = self._governor.current
        held = np.maximum(current, 0)
        self._link = linking.until(self._links, self._link, self.now_s)
        bucket = governing.fill(tables, self._governor, self.now_s * 1e3)
        return RunningStates(
            present=tables.present,
            on=tables.gates[lanes, held] & tables.present & (current != SKIP)[:, None],
            contributions=tables.contributions,
            relative_params=tables.relative_params,
            relative_macs=tables.relative_macs,
            seed_latency_ms=tables.seed_latency_ms,
            host_latency_ms=tables.latency_ms[:, 0],
            full_latency_ms=tables.latency_ms[lanes, tables.last],
            current_latency_ms=tables.latency_ms[lanes, held],
            deadline_ms=tables.deadline_ms,
            slowdown=self.slowdown,
            bucket_level=np.minimum(bucket, self.battery),
            power_budget_mw=tables.power_mw,
            host_power_mw=tables.host_power_mw,
            full_power_mw=tables.full_power_mw,
            link_level=linking.level(self._links, self._link, self.now_s),
            accuracy=tables.accuracy[lanes, held],
            profile=tables.profile,
        )

    def step(self, gates: Bools) -> Outcome:
        """Serve a sample on every lane with these gates asked for, (lanes, slots), then wait for the next."""
        tables, lanes = self.tables, self._lanes
        proposal = tables.find[lanes, (gates & tables.present) @ self._weights]
        due_s = self._index * tables.period_s
        waited_ms = np.maximum(0.0, self.now_s - due_s) * 1e3 * (tables.period_s > 0)
        temperature = np.where(self._boards.known_heat, self._board.temperature_c, -np.inf)
        met = Met(self.slowdown, waited_ms, temperature)
        grants, self._governor = governing.decide(tables, self._governor, proposal, met, self.now_s * 1e3)
        ran = grants.option != SKIP
        latency_ms, energy_uj = self._run(np.maximum(grants.option, 0), ran)
        left_ms = tables.deadline_ms - waited_ms
        self._governor = governing.settle(
            tables, self._governor, grants, latency_ms=latency_ms, energy_uj=energy_uj, now_ms=self.now_s * 1e3
        )
        self._index += 1
        self._wait(self._index * tables.period_s)
        accuracy = np.where(ran, tables.accuracy[lanes, np.maximum(grants.option, 0)], 0.0)
        alive = np.ones(len(self), dtype=bool) if self._board.charged is None else self._board.charged.on
        return Outcome(grants.option, latency_ms, energy_uj, ran & (latency_ms > left_ms), accuracy, alive)

    def _run(self, option: Ints, ran: Bools) -> tuple[Floats, Floats]:
        tables, lanes, boards, step = self.tables, self._lanes, self._boards, self._board.step
        expected, fixed = tables.latency_ms[lanes, option], tables.unclocked_ms[lanes, option]
        clock = boards.stretch[lanes, step]
        with np.errstate(invalid="ignore"):
            stretch = np.where(expected > 0, (fixed + (expected - fixed) * clock) / expected, clock)
        factor = stretch * boards.jitter(self._board.runs)
        latency_ms = np.where(ran, expected * factor, 0.0)
        power = boards.active_mw[lanes, step] / boards.rated_mw
        energy_uj = np.where(ran, tables.energy_uj[lanes, option] * factor * power, 0.0)
        self._board = self._board._replace(runs=self._board.runs + ran)
        self._board = boarding.passed(boards, self._board, latency_ms * 1e-3, busy=ran)
        self.now_s = self.now_s + latency_ms * 1e-3
        return latency_ms, energy_uj

    def _wait(self, until_s: Floats) -> None:
        idle_s = np.maximum(0.0, until_s - self.now_s)
        self._board = boarding.passed(self._boards, self._board, idle_s, busy=np.zeros(len(self), dtype=bool))
        self.now_s = np.maximum(self.now_s, until_s)
