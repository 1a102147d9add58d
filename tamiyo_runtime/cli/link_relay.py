"""``tamiyo link relay`` at work: what is checked before, the live line, and the summary."""

from __future__ import annotations

import math
import signal
import socket
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tamiyo_runtime.cli.link_summary import Witness, show_summary, summary
from tamiyo_runtime.contracts.errors import InputError, UsageError
from tamiyo_runtime.contracts.units import milliseconds, size

if TYPE_CHECKING:
    from simulators.relay.medium import Medium
    from simulators.relay.record import Recorder
    from simulators.relay.service import Relay
    from tamiyo_runtime.cli.render import Progress

_REACH_S = 5.0
_SLOWEST, _FASTEST = 1e-3, 100_000  # beyond, a look at the link takes longer than the time between two
_LOOK_S = 0.25
_RATE_LOOKS = 12  # the rate is of the last three seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPlan:
    """The options of the command."""

    listen: str
    to: str
    link: str | None
    replay: Path | None
    record: Path | None
    speed: float
    cut_after_s: float | None
    overwrite: bool

    @property
    def where(self) -> tuple[str, int]:
        """Host and port to listen at; raises UsageError."""
        return endpoint(self.listen, "--listen")

    @property
    def target(self) -> tuple[str, int]:
        """Host and port of the server; raises UsageError."""
        return endpoint(self.to, "--to")


def endpoint(text: str, option: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[ADDRESS]:PORT``; raises UsageError."""
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or "/" in host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise UsageError(f"{option} {text!r} is not HOST:PORT", hint=f"as in {option} 127.0.0.1:1883")
    return host, int(port)


def run_relay(plan: RelayPlan, *, as_json: bool) -> None:
    """Until Ctrl-C or SIGTERM. Raises UsageError, UnknownNameError, InputError for what keeps it from working."""
    from tamiyo_runtime.cli.render import emit_json, note, progress, say

    where, target = plan.where, plan.target
    medium = _medium(plan)
    _check(plan)
    _reach(target, plan.to)
    ended = threading.Event()
    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, lambda *_: ended.set()))
        recorder = _recorder(plan, medium)
        witness = Witness(recorder)
        relay = _relay(plan, medium, witness, recorder)
        if recorder is not None:
            stack.callback(recorder.close)
        stack.enter_context(relay)
        pace = "" if plan.speed == 1 else f", {plan.speed:g} times as fast as it is"
        (note if as_json else say)(f"relay at {where[0]}:{relay.port} to {plan.to} over {medium.label}{pace}")
        with progress("relay") as bar:
            live = Live(relay)
            while not ended.wait(_LOOK_S) and (recorder is None or recorder.problem is None):
                live.show(bar)
            live.show(bar)
        figures, moment = relay.figures(), relay.moment()
    data = summary(plan, medium, figures, moment, witness)
    emit_json(data) if as_json else show_summary(data, plan)
    if recorder is not None and recorder.problem is not None:
        raise InputError(f"the record {plan.record} ends too early: {recorder.problem.strerror}", hint="make room")


class Live:
    """The line that is redrawn: delay, rate, outage, and bytes both ways. Rates are by the link's clock."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._looks: deque[tuple[float, int]] = deque(maxlen=_RATE_LOOKS)

    def show(self, bar: Progress) -> None:
        """How it stands."""
        figures, moment = self._relay.figures(), self._relay.moment()
        done = figures.bytes_up + figures.bytes_down
        parts = []
        if moment is not None:
            self._looks.append((moment.now_s, done))
            if moment.outage is not None and moment.now_s < moment.outage.ends_s:
                parts.append(f"OUTAGE, {moment.outage.ends_s - moment.now_s:.1f} s to go")
            if moment.last is not None:
                parts.append(f"delay {milliseconds(1e3 * moment.last.delay_s)}")
            (since_s, before), (now_s, _) = self._looks[0], self._looks[-1]
            if now_s > since_s:
                parts.append(f"{(done - before) / (now_s - since_s):.3g} bytes/s")
        parts += [f"up {size(figures.bytes_up)}", f"down {size(figures.bytes_down)}", f"{figures.open} open"]
        if figures.refused:
            parts.append(f"{figures.refused} refused by the server")
        bar.show(", ".join(parts), done=done)


def _medium(plan: RelayPlan) -> Medium:
    from simulators.links import open_link
    from simulators.relay.medium import LinkMedium
    from simulators.relay.record import read_record
    from simulators.relay.replay import Replay

    if (plan.link is None) == (plan.replay is None):
        raise UsageError("a relay is given either --link or --replay", hint="as in --link 'lte?seed=3'")
    if plan.replay is None:
        assert plan.link is not None
        return LinkMedium(open_link(plan.link))
    if plan.record is not None:
        raise UsageError("--record with --replay would only copy a record", hint="leave one of them out")
    return Replay(read_record(plan.replay))


def _check(plan: RelayPlan) -> None:
    if not _SLOWEST <= plan.speed <= _FASTEST:
        raise UsageError(
            f"--speed {plan.speed:g} is not in {_SLOWEST:g} to {_FASTEST:,}",
            hint="1 is real time, 10 ten times as fast",
        )
    if plan.cut_after_s is not None and not 0 <= plan.cut_after_s < math.inf:
        raise UsageError(f"--cut-after {plan.cut_after_s} cannot be", hint="seconds of the link, as in --cut-after 5")


def _reach(target: tuple[str, int], text: str) -> None:
    """Find out now, not with the first client, that there is no server."""
    try:
        socket.create_connection(target, timeout=_REACH_S).close()
    except OSError as exc:
        raise InputError(
            f"nothing answers at {text}: {exc.strerror or exc}", hint="start it first, with `tamiyo broker` for one"
        ) from exc


def _recorder(plan: RelayPlan, medium: Medium) -> Recorder | None:
    from simulators.relay.record import Recorder

    if plan.record is None or plan.link is None:
        return None
    return Recorder(plan.record, link=plan.link, label=medium.label, speed=plan.speed, overwrite=plan.overwrite)


def _relay(plan: RelayPlan, medium: Medium, witness: Witness, recorder: Recorder | None) -> Relay:
    from simulators.relay.service import Relay

    cut_after_s = math.inf if plan.cut_after_s is None else plan.cut_after_s
    try:
        return Relay(
            plan.target,
            host=plan.where[0],
            port=plan.where[1],
            medium=medium,
            speed=plan.speed,
            cut_after_s=cut_after_s,
            tell=witness.tell,
        )
    except InputError:
        if recorder is not None:
            recorder.discard()
        raise
