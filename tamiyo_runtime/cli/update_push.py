"""``tamiyo update push``: an order to a fleet over MQTT, with the bundle that it offers, in stages if asked for."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamiyo_runtime.cli.broker_options import BrokerCa, BrokerCert, BrokerKey, access_to
from tamiyo_runtime.cli.update_office import body_of

if TYPE_CHECKING:
    from tamiyo_runtime.cli.update_view import View
    from tamiyo_runtime.signing import SigningKey
    from tamiyo_runtime.transport.access import Access
    from tamiyo_runtime.update.desk import Desk, Line
    from tamiyo_runtime.update.orders import Sent
    from tamiyo_runtime.update.rollout import Stage, Standing

_CONNECT_S = 10.0
_LOOK_S = 0.2
_WITHDRAW_S = 10.0
_SIGNED_BYTES = 64 << 10


def push(
    signed: Annotated[Path | None, typer.Argument(help="a signed order, as `tamiyo update sign` writes it")] = None,
    *,
    broker: Annotated[str, typer.Option(help="mqtt[s]://HOST:PORT")],
    broker_ca: BrokerCa = None,
    broker_cert: BrokerCert = None,
    broker_key: BrokerKey = None,
    fleet: Annotated[str, typer.Option(help="name of the fleet")] = "fleet",
    device: Annotated[
        list[str] | None, typer.Option(help="only this one; may be given again; default: all that were ever seen there")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help='instead of a file: {"policy": false}, {"bundle": "FILE"}, ...', metavar="JSON")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="private key of the signer, with --order or --stages")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="the bundle that is offered; without --order it is the order")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="also to devices that rejected the bundle before")] = False,
    valid_s: Annotated[int, typer.Option(min=1, help="good for so many seconds from now on")] = 86400,
    stages: Annotated[
        str | None, typer.Option(help="shares of the fleet, one after the other: 1,10,100", metavar="PERCENT,...")
    ] = None,
    stop_at: Annotated[
        float, typer.Option(min=0, max=1, help="with --stages: share that may go back before it is stopped")
    ] = 0.02,
    max_kb_per_s: Annotated[float, typer.Option(min=1, help="for all devices together")] = 1000.0,
    settle_s: Annotated[float, typer.Option(min=0, help="how long to gather devices before the first order")] = 1.0,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="seconds for each stage")] = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Send an order to devices that run `tamiyo run STATE_DIR`, serve what they ask for, and watch what comes of it.

    Ends when every device that is there has come to an end: exit 3 if one went back or did not end in time, 6 if one
    refused. Given again after it was stopped, it goes on: devices keep what they have.

    Examples:

      tamiyo update push --broker mqtt://hub:1883 --fleet pumps --key o.key --bundle digits-2.tamiyo

      tamiyo update push --broker mqtt://hub:1883 --fleet pumps --key o.key --bundle digits-2.tamiyo --stages 1,10,100

      tamiyo update push --broker mqtt://hub:1883 --fleet pumps --device pump-7 --key o.key --order '{"policy": false}'
    """
    from tamiyo_runtime.cli.parsing import check_finite
    from tamiyo_runtime.cli.render import emit_json
    from tamiyo_runtime.cli.update_view import View, as_data, judge, show
    from tamiyo_runtime.transport.access import check_handshake

    check_finite({"--max-kb-per-s": max_kb_per_s, "--settle-s": settle_s})
    percents = percents_of(stages)
    what = _what(signed, order, bundle, staged=percents is not None, again=again)
    maker = _Maker(what, _key(key, needed=what.envelope is None), fleet, tuple(device or ()), valid_s)
    access = access_to(broker, broker_ca, broker_cert, broker_key)
    if access is not None:
        check_handshake(broker, access)
    with _desk(broker, maker, access, max_kb_per_s * 1e3) as (desk, line), View() as view:
        _gather(desk, line, settle_s)
        result = _run(desk, line, view, maker, percents, stop_at=stop_at, timeout_s=timeout_s)
    if as_json:
        emit_json(as_data(result))
    else:
        show(result)
    judge(result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a push. ``sent``: the last order; ``rows``: where devices were with it at the end.

    ``stopped``: too many went back. ``untried``: nobody of the last share tried the bundle.
    """

    sent: Sent
    stages: list[Stage] = field(default_factory=list)
    rows: list[Standing]
    stopped: bool = False
    untried: bool = False
    sent_bytes: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _What:
    """What to order: an envelope that was signed before, or a body; and the file of the bundle, if it offers one."""

    envelope: bytes | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the orders of a push, each with a counter above those that devices know."""

    what: _What
    key: SigningKey | None
    fleet: str
    names: tuple[str, ...]
    valid_s: int

    def make(self, desk: Desk, percent: int | None, *, first: bool = True) -> Sent:
        """The next order. Only the ``first`` is for devices that rejected the bundle before: the later ones must not
        have it tried again where it failed in this push.
        """
        from tamiyo_runtime.update.orders import Sent, command_of, next_counter, sign

        if self.what.envelope is not None or self.key is None:
            return Sent.of(self.what.envelope or b"")
        now_s = time.time()
        one = self.names[0] if len(self.names) == 1 else None
        body = {name: value for name, value in self.what.body.items() if first or name != "again"}
        command = command_of(
            body if percent is None else {**body, "stage_percent": percent},
            counter=next_counter(now_s, desk.rollout.counters(self.key.public.id)),
            now_s=now_s,
            valid_s=self.valid_s,
            device=one,
            fleet=None if one is not None else self.fleet,
        )
        return sign(command, self.key)


def percents_of(text: str | None) -> list[int] | None:
    """``1,10,100`` as rising shares; raises UsageError."""
    from tamiyo_runtime.contracts.errors import UsageError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    found = [int(part) for part in parts if part.isdecimal()]
    if len(found) == len(parts) and found == sorted(set(found)) and found[0] > 0 and found[-1] <= 100:
        return found
    raise UsageError(f"--stages: {text!r} are no rising shares from 1 to 100", hint="as in --stages 1,10,100")


def _what(signed: Path | None, order: str | None, bundle: Path | None, *, staged: bool, again: bool) -> _What:
    from tamiyo_runtime.contracts.errors import UsageError
    from tamiyo_runtime.files import read_bytes

    if signed is not None:
        if order is not None or staged or again:
            hint = "leave out --order, --stages and --again, or the file"
            raise UsageError("a signed order is sent as it is", hint=hint)
        return _What(envelope=read_bytes(signed, limit_bytes=_SIGNED_BYTES, what="order"), bundle=bundle)
    if order is None and bundle is None:
        raise UsageError("nothing to order", hint="give a signed order, --order JSON or --bundle FILE")
    body: dict[str, Any] = dict(body_of(order)) if order is not None else {"bundle": str(bundle)}
    named = body.get("bundle")
    if isinstance(named, str) and bundle is not None and Path(named) != bundle:
        raise UsageError("--order and --bundle name two files", hint="name one of them")
    if (staged or again) and not isinstance(named, str):
        option = "--stages are" if staged else "--again is"
        raise UsageError(f"{option} for a bundle", hint="pass --bundle FILE")
    if again:
        body["again"] = True
    return _What(body=body, bundle=Path(named) if isinstance(named, str) else bundle)


def _key(path: Path | None, *, needed: bool) -> SigningKey | None:
    from tamiyo_runtime.contracts.errors import UsageError
    from tamiyo_runtime.signing import SigningKey

    if path is None and needed:
        raise UsageError("an order has to be signed", hint="pass --key, the private key of the signer")
    return None if path is None else SigningKey.load(path)


@contextlib.contextmanager
def _desk(broker: str, maker: _Maker, access: Access | None, rate: float) -> Iterator[tuple[Desk, Line]]:
    """A desk on a connection of its own; raises InputError when the broker cannot be reached."""
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.update.desk import Desk, Line
    from tamiyo_runtime.update.rollout import Rollout

    line = Line(broker, maker.fleet, f"tamiyo-operator-{maker.fleet}-{secrets.token_hex(4)}", access)
    line.connection.start()
    try:
        if not line.connection.wait_connected(_CONNECT_S):
            raise InputError(f"no broker: {line.connection.last_error}", hint="check --broker")
        yield Desk(Rollout(maker.fleet, maker.names), maker.fleet, line.publish, bytes_per_s=rate), line
        line.connection.wait_sent(_CONNECT_S)
    finally:
        line.connection.stop()


def _gather(desk: Desk, line: Line, settle_s: float) -> None:
    """Hear of the devices that the broker knows; raises InputError when there is none."""
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.update.desk import turn

    until_s = time.monotonic() + settle_s
    while time.monotonic() < until_s:
        turn(desk, line, None, time.monotonic())
    if not desk.rollout.devices:
        raise InputError("no device of this fleet was ever seen at this broker", hint="check --fleet, or name --device")


def _run(
    desk: Desk,
    line: Line,
    view: View,
    maker: _Maker,
    percents: list[int] | None,
    *,
    stop_at: float,
    timeout_s: float,
) -> Result:
    """One order, or one a share until too many go back, nobody tries it or one does not come to its end."""
    stages: list[Stage] = []
    stopped = untried = False
    limit = math.inf if percents is None else stop_at
    for percent in _shares(desk, maker.what.bundle, percents):
        sent = maker.make(desk, percent, first=not stages)
        _put_on_shelf(desk, sent, maker.what.bundle)
        rows = _see_through(desk, line, view, sent, timeout_s, stop_at=limit)
        stages.append(_stage(sent, rows))
        stopped = stages[-1].share_back > limit
        untried = percents is not None and stages[-1].ended and not stages[-1].tried
        if stopped:  # whoever has not begun is not to begin
            _see_through(desk, line, view, maker.make(desk, 0, first=False), 0.0)
        if stopped or untried or not stages[-1].ended:
            break
    return Result(
        sent=sent,
        stages=stages,
        rows=rows,
        stopped=stopped,
        untried=untried,
        sent_bytes=desk.sent_bytes,
        unreadable=desk.rollout.refused,
    )


def _shares(desk: Desk, bundle: Path | None, percents: list[int] | None) -> Sequence[int | None]:
    """The shares to offer, each with somebody in it, as far as there is anybody; None stands for no shares."""
    from tamiyo_runtime.cli.render import note
    from tamiyo_runtime.update.record import Offer
    from tamiyo_runtime.update.rollout import with_somebody_in
    from tamiyo_runtime.update.shelf import Shelf

    if percents is None or bundle is None:
        return [None]
    shelf = Shelf(bundle)
    desk.offer(shelf)
    shares = with_somebody_in(percents, Offer(sha256=shelf.sha256, size_bytes=shelf.size_bytes), desk.rollout.takers())
    if shares[0] > percents[0]:
        note(f"{percents[0]} % of the fleet is none of the devices that are there; the first share is {shares[0]} %")
    return shares


def _stage(sent: Sent, rows: list[Standing]) -> Stage:
    from tamiyo_runtime.update.rollout import Stage

    return Stage.of(100 if sent.offer is None else sent.offer.stage_percent, rows)


def _put_on_shelf(desk: Desk, sent: Sent, path: Path | None) -> None:
    """The bundle that is offered, to be served; raises UsageError when it is another one."""
    from tamiyo_runtime.contracts.errors import UsageError
    from tamiyo_runtime.update.shelf import Shelf

    if sent.offer is None or desk.offers == sent.offer.sha256:
        return
    shelf = Shelf(path) if path is not None else None
    if shelf is None or shelf.sha256 != sent.offer.sha256:
        raise UsageError(
            f"the order offers bundle {sent.offer.sha256[:16]}, and {path or 'no file'} is not that",
            hint="pass --bundle, the file that is offered",
        )
    desk.offer(shelf)


def _see_through(
    desk: Desk, line: Line, view: View, sent: Sent, timeout_s: float, *, stop_at: float = math.inf
) -> list[Standing]:
    """Serve until everybody has come to an end with an order, or the time is over, but everybody has it.

    Or until more than ``stop_at`` of them are lost to it, whatever becomes of the rest.
    """
    from tamiyo_runtime.update.desk import turn

    now_s = time.monotonic()
    until_s, sent_by_s, look_s = now_s + timeout_s, now_s + timeout_s + _WITHDRAW_S, now_s
    while True:
        everybody = turn(desk, line, sent, now_s)
        now_s = time.monotonic()
        if now_s >= look_s:
            look_s = now_s + _LOOK_S
            rows = desk.rollout.standings(sent)
            view.show(rows)
            stage = _stage(sent, rows)
            over = stage.ended or stage.lost(stop_at) or now_s >= until_s
            if (everybody and over) or now_s >= sent_by_s:
                return rows
