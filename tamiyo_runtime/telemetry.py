"""What the session tells of itself: windows, decisions, events, and single samples where the link can carry them.

The session calls `Telemetry.inference` after each inference and `pump` between them. Inferences are only noted; a
window is summed up when it ends. Its length follows the link: as many windows a second as the link carries for ever,
less a share kept for decisions and events, and longer while a backlog remains. Inferences are also recorded one by one
where the link carries that, now or in a contact to come, up to a stated rate, so that neither flash nor data volume
grows with the speed of the board.

All times are on the runtime's clock: ``t_ms`` and ``now_s * 1000`` count from the same zero. One thread calls
everything.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.records import (
    Decision,
    Event,
    EventRecord,
    LossReason,
    Priority,
    Reason,
    Window,
)
from tamiyo_runtime.flash import FlashBudget
from tamiyo_runtime.link import Link
from tamiyo_runtime.meters import Clock, Usage
from tamiyo_runtime.samples import SampleTap, rate_per_s
from tamiyo_runtime.spool import Spool
from tamiyo_runtime.timekeeping import NoWallClock, Timekeeper, WallWatch
from tamiyo_runtime.transport import Transport
from tamiyo_runtime.transport.topics import LOST, LOST_RANGES
from tamiyo_runtime.uplink import Uplink
from tamiyo_runtime.windows import WindowBuilder, fitted

_PUMP_S = 0.02  # pumping more often than this finds nothing new
_METRIC_SHARE = 0.6  # of the link's rate for windows, the rest for decisions, events and what is sent twice
_WINDOW_BYTES = 40  # until the first window has been encoded
_BACKLOG_FRAMES = 4  # unsent frames that are nothing to worry about
_LONGEST = 64  # times the sustainable length, however long the backlog
_RECONNECT_STEP_CAP_S = 60.0
_BITES = 1.25  # times the length that a window would have: less is not worth an event


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What this boot recorded and sent. ``records_created == stored_acked + pending + sum(dropped.values())``."""

    records_created: int
    stored_acked: int
    pending: int
    dropped: Mapping[LossReason, int]
    transmissions: int
    resent: int
    lost_frames: int
    bytes_sent: int
    airtime_s: float
    radio_energy_uj: float


class Telemetry:
    """See the module's description.

    ``window_s`` is the shortest window. ``samples_per_s`` caps single samples; where they wait for a contact there is
    at most one a second, and on a link that never carries them none. ``on_window`` is shown each window that was
    recorded. With a ``flash`` budget inferences are recorded in windows only. ``wall``: see `timekeeping`.
    """

    def __init__(
        self,
        spool: Spool,
        uplink: Uplink,
        link: Link,
        clock: Clock,
        *,
        budget: Budget | None = None,
        window_s: float = 1.0,
        samples_per_s: float = 50.0,
        on_window: Callable[[Window], None] | None = None,
        flash: FlashBudget | None = None,
        wall: Timekeeper | None = None,
        seed: int = 0,
    ) -> None:
        self._spool = spool
        self._uplink = uplink
        self._link = link
        self._clock = clock
        self._budget = budget
        self._shortest_s = window_s
        self._on_window = on_window
        self._flash = flash
        self._flash_bites = False
        self._rng = random.Random(seed)  # noqa: S311 - picks which latencies stay in a reservoir
        self._window = WindowBuilder(self._rng)
        self._window_bytes = _WINDOW_BYTES
        self._start_ms = 0
        self._end_ms = 0
        self._bucket_permille = 1000
        self._throttle_permille = 1000
        self._tap = SampleTap(0.0 if flash is not None else rate_per_s(link, samples_per_s, clock.now_s()))
        self._wall = WallWatch(wall or NoWallClock())
        self._next_pump_s = -math.inf
        self._was_connected: bool | None = None
        self._disk_full = False

    @property
    def transport(self) -> Transport:
        """What moves the bytes: one connection a device, whoever uses it."""
        return self._uplink.transport

    @property
    def boot(self) -> int:
        """Number of this boot."""
        return self._spool.boot

    def inference(
        self,
        *,
        t_ms: int,
        configuration: str,
        usage: Usage,
        answer: int,
        confidence: float,
        correct: bool | None,
        deadline_missed: bool,
    ) -> None:
        """Note one inference. ``confidence`` in 0..1; ``correct`` None when the truth is not known."""
        if t_ms >= self._end_ms:
            self._roll(t_ms)
        latency_us = int(usage.latency_ms * 1000.0 + 0.5)
        self._window.add(configuration, latency_us, usage.energy_uj, correct, deadline_missed)
        if t_ms >= self._tap.next_ms:
            self._tap.add(
                t_ms,
                configuration,
                answer=answer,
                confidence=confidence,
                latency_us=latency_us,
                energy_uj=usage.energy_uj,
            )

    def skipped(self, *, t_ms: int, reason: Reason) -> None:
        """Note a sample that was not run. The reason is in the decision record that began the skipping."""
        if t_ms >= self._end_ms:
            self._roll(t_ms)
        self._window.skip()

    def decision(self, decision: Decision) -> None:
        """Record a change of what runs."""
        self._spool.append(decision)

    def event(self, event: EventRecord) -> None:
        """Record something that happened; it is durable on return and sent before everything else."""
        self._spool.append(event)

    def state(self, *, bucket_permille: int, throttle_permille: int) -> None:
        """Level of the energy bucket and latency multiplier, as they are now; a window carries the last ones."""
        self._bucket_permille = bucket_permille
        self._throttle_permille = throttle_permille

    def running(self, bundle: str) -> None:
        """Another bundle runs; frames made from now on say so. What was recorded before is told apart by `RELOAD`."""
        self._uplink.bundle = bundle

    def pump(self, now_s: float) -> None:
        """Close a window that is due, commit, take in acks, send what the link allows. Cheap when called too often."""
        if now_s < self._next_pump_s:
            return
        self._next_pump_s = now_s + _PUMP_S
        now_ms = int(now_s * 1000)
        if now_ms >= self._end_ms:
            self._close_window(self._end_ms)
        self._record_samples()
        self._watch_clock(now_s)
        self._spool.tick()
        self._watch_disk(now_ms)
        self._watch_connection(now_ms)
        self._uplink.pump(now_s)

    def next_s(self, now_s: float) -> float:
        """When `pump` may have something to do next, if nothing is recorded or acked before: ``now_s`` or later."""
        window_s = math.inf if self._window.empty else self._end_ms / 1000.0
        return max(now_s, min(window_s, self._spool.due_s(), self._uplink.next_s(now_s)))

    def flush(self, now_s: float, timeout_s: float, *, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Record and send everything, waiting up to ``timeout_s`` on the runtime's clock; whether all of it was acked.

        A virtual clock is moved on to when the link allows the next frame; with a real one this waits. ``go_on`` is
        asked before each wait, of a tenth of a real second at most, and False is the end. Single samples that no link
        to come will carry are not waited for.
        """
        self._watch_clock(now_s)
        self._close_window(int(now_s * 1000))
        self._record_samples()
        deadline_s, step_s = now_s + timeout_s, 1.0
        while True:
            self._spool.tick(at_once=True)
            self._uplink.pump(now_s, everything=True)
            if self._uplink.idle():
                return self.waiting == 0
            if now_s >= deadline_s or not go_on():
                return False
            connected = self._uplink.connected()
            self._uplink.wait(0.02 if connected else 0.1)
            before_s, now_s = now_s, max(now_s, self._clock.now_s())
            if now_s == before_s:  # a clock that only moves when told
                step_s = 1.0 if connected else min(2 * step_s, _RECONNECT_STEP_CAP_S)
                due_s = self._uplink.next_s(now_s, everything=True)
                due_s = due_s if math.isfinite(due_s) else now_s  # nothing to do but to look again
                later_s = max(due_s, now_s + (1e-3 if connected else step_s))
                self._clock.sleep_until(min(later_s, deadline_s))
                now_s = self._clock.now_s()

    def close(self) -> None:
        """Commit, say goodbye, and release spool and transport. What was not acked is sent after the next start.

        On a disk that is full to the end the goodbye names the records that are lost with this process, in so many
        ranges at most, and TamiyoError is raised.
        """
        self._record_samples()
        lost = self._spool.settle()
        mine = self._spool.accounts(self._spool.boot)
        farewell = {"state": "stopped", "boot": self._spool.boot, "created": mine.created, "pending": mine.pending}
        self._uplink.close({**farewell, LOST: lost[:LOST_RANGES]} if lost else farewell)
        self._spool.close()

    def lose_power(self) -> None:
        """Let go as a board does whose power fails: nothing more is recorded or committed, and nobody says goodbye.

        The broker is told what it would say itself of a device that it hears no more of.
        """
        self._uplink.close({"state": "offline"})
        self._spool.abandon()

    @property
    def in_memory(self) -> str | None:
        """Why the spool is in memory and not on the disk, None when it is on the disk."""
        return self._spool.trouble

    def trouble(self) -> str | None:
        """Why records wait: the disk or the broker; None when neither complains."""
        return self._spool.trouble or self._uplink.trouble()

    @property
    def waiting(self) -> int:
        """How many records of this boot and of earlier ones are committed and not stored by a collector."""
        return self._spool.accounts().pending

    def counters(self) -> Counters:
        """Figures of this boot; of records, those committed."""
        accounts, traffic = self._spool.accounts(self._spool.boot), self._uplink.traffic
        return Counters(
            records_created=accounts.created,
            stored_acked=accounts.acked,
            pending=accounts.pending,
            dropped=accounts.dropped,
            transmissions=traffic.transmissions,
            resent=traffic.resent,
            lost_frames=traffic.lost,
            bytes_sent=traffic.bytes_sent,
            airtime_s=traffic.airtime_s,
            radio_energy_uj=traffic.energy_uj,
        )

    def window_length_s(self) -> float:
        """How long a window that begins now will be."""
        return max(self._link_length_s(), self._flash.window_s() if self._flash else 0.0)

    def _link_length_s(self) -> float:
        rate = self._link.sustainable_bytes_per_s()
        if self._budget is not None:
            if self._budget.link_bytes_per_day is not None:
                rate = min(rate, self._budget.link_bytes_per_day / 86400.0)
            traffic = self._uplink.traffic
            if self._budget.airtime_s_per_hour is not None and traffic.airtime_s > 0:
                slow_bytes = traffic.bytes_sent - traffic.contact_bytes
                rate = min(rate, slow_bytes / traffic.airtime_s * self._budget.airtime_s_per_hour / 3600.0)
        if math.isinf(rate):
            return self._shortest_s
        sustainable_s = self._window_bytes / (_METRIC_SHARE * max(rate, 1e-3))
        waiting_bytes = self._spool.waiting_bytes(Priority.ALARM, Priority.EVENT, Priority.METRIC)
        backlog = waiting_bytes / (_BACKLOG_FRAMES * self._link.max_payload_bytes())
        return max(self._shortest_s, sustainable_s) * min(max(1.0, backlog), _LONGEST)

    def _roll(self, t_ms: int) -> None:
        self._close_window(self._end_ms)
        self._watch_flash(t_ms)
        self._start_ms = t_ms
        self._end_ms = t_ms + max(1, int(self.window_length_s() * 1000))

    def _close_window(self, end_ms: int) -> None:
        """Record the window so far, up to ``end_ms``. An empty one says nothing and is not recorded."""
        if not self._window.empty:
            end_ms = max(end_ms, self._start_ms)
            window = self._window.build(self._start_ms, end_ms, self._bucket_permille, self._throttle_permille)
            if math.isfinite(self._link.sustainable_bytes_per_s()):
                window = fitted(window, self._link.max_payload_bytes())
            self._window_bytes = len(wire.encode_record(window))
            self._spool.append(window)
            if self._on_window is not None:
                self._on_window(window)
            self._window = WindowBuilder(self._rng)
            if self._flash is not None:
                self._flash.window_closed(self._spool.flash_bytes)
        self._end_ms = 0

    def _record_samples(self) -> None:
        for sample in self._tap.take():
            self._spool.append(sample)

    def _watch_clock(self, now_s: float) -> None:
        """Follow the wall clock: one that was set is an event, and changes what is told of it; nothing else."""
        step_ms = self._wall.look(now_s)
        reading = self._wall.reading
        self._spool.place(reading.told_ms, reading.quality)
        if step_ms:
            detail = reading.quality.value
            self.event(EventRecord(t_ms=int(now_s * 1000), event=Event.CLOCK, value=step_ms, detail=detail))

    def _watch_flash(self, t_ms: int) -> None:
        """Say when the budget begins to lengthen windows, and when it no longer does."""
        if self._flash is None:
            return
        wanted_s = self._flash.window_s()
        bites = wanted_s > (1.0 if self._flash_bites else _BITES) * self._link_length_s()
        if bites != self._flash_bites:
            self._flash_bites = bites
            self.event(EventRecord(t_ms=t_ms, event=Event.FLASH, value=math.ceil(wanted_s) if bites else 0))

    def _watch_disk(self, now_ms: int) -> None:
        """An alarm when the spool cannot be written, which is in memory with the rest, and another when it can."""
        trouble = self._spool.trouble
        if (trouble is not None) != self._disk_full:
            self._disk_full = trouble is not None
            self.event(
                EventRecord(t_ms=now_ms, event=Event.DISK, value=int(self._disk_full), detail=(trouble or "")[:60])
            )

    def _watch_connection(self, now_ms: int) -> None:
        connected = self._uplink.connected()
        if self._was_connected and not connected:
            self.event(EventRecord(t_ms=now_ms, event=Event.LINK_LOST))
        elif self._was_connected is False and connected:
            self.event(EventRecord(t_ms=now_ms, event=Event.LINK_RESTORED))
        if connected or self._was_connected is not None:  # before the first connection nothing was lost
            self._was_connected = connected
