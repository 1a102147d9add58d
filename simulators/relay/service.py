"""The relay itself: a listener, its connections and the thread they live in."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from simulators.relay.air import Air
from simulators.relay.conditions import CLEAR, Conditions, Figures, Passage
from simulators.relay.medium import Decision, Direction, Medium, Outage
from simulators.relay.pair import CHUNK, Pair, Ways, exchange
from tamiyo_runtime.contracts.errors import InputError

T = TypeVar("T")
HOST = "127.0.0.1"

_STOP_S = 5.0
_CONNECT_S = 10.0
_AGAIN_S = 0.1
_RECEIVE_BYTES = 1 << 15  # of a socket's buffer where a link decides: it shall not swallow an hour of a slow one


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How a link is at ``now_s`` of its clock: the last decision, and the outage it is in."""

    now_s: float
    last: Decision | None
    outage: Outage | None


def _nobody(_: Decision | Outage) -> None:
    pass


class Relay:
    """See the package's description. Every method may be called from any thread.

    ``target``: host and port of the server. ``port`` 0 takes a free one. ``seed`` decides jitter and damage.
    ``medium``: what decides when bytes go and arrive, ``speed`` seconds of it to a real one; ``cut_after_s`` (of it):
    outages that last longer reset all connections, once each; ``tell`` hears of its decisions and outages, in the
    relay's thread.
    Raises InputError for a port that cannot be used.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        host: str = HOST,
        port: int = 0,
        seed: int = 0,
        medium: Medium | None = None,
        speed: float = 1.0,
        cut_after_s: float = math.inf,
        tell: Callable[[Decision | Outage], None] = _nobody,
    ) -> None:
        self._target = target
        self._ways = Ways(seed)
        self._passage = Passage.FORWARD
        self._door: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._pairs: set[Pair] = set()
        self._connections = self._cut = self._refused = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self.host = host
        if medium is not None:  # before anybody is let in
            self._call(self._by_air(medium, speed, cut_after_s, tell))
        try:
            self.port = self._call(self._listen(port))
        except OSError as exc:
            self.close()
            why = (exc.strerror or str(exc)).partition(" (")[0]  # `create_server` adds the address
            raise InputError(
                f"port {port} of {host} cannot be used: {why}", hint="choose another: port 0 takes any"
            ) from exc

    def forward(self) -> None:
        """Let everything pass, also what was held."""
        self._call(self._set(Passage.FORWARD))

    def refuse(self) -> None:
        """Cut all connections and let nobody in."""
        self._call(self._set(Passage.REFUSE))

    def swallow(self) -> None:
        """Let clients in and hold every byte, of connections that are there too."""
        self._call(self._set(Passage.SWALLOW))

    def cut(self) -> int:
        """Reset every connection that is there, whatever is on its way; returns how many. New ones are let in."""
        return self._call(self._reset())

    def shape(self, *, up: Conditions = CLEAR, down: Conditions = CLEAR) -> None:
        """From now on: ``up`` towards the server, ``down`` towards clients."""
        self._call(self._shape(up, down))

    def retarget(self, target: tuple[str, int]) -> None:
        """Connect new clients to another server."""
        self._target = target

    @property
    def passage(self) -> Passage:
        """What it does at present."""
        return self._passage

    def figures(self) -> Figures:
        """What it did so far."""
        return Figures(
            connections=self._connections,
            open=len(self._pairs),
            cut=self._cut,
            refused=self._refused,
            bytes_up=self._ways.passed[Direction.UP],
            bytes_down=self._ways.passed[Direction.DOWN],
            damaged=self._ways.damaged,
        )

    def moment(self) -> Moment | None:
        """How its link is; None without one."""
        air = self._ways.air
        return None if air is None else Moment(now_s=air.now_s(), last=air.last, outage=air.outage)

    def close(self) -> None:
        """Cut everything and end; harmless when it has ended."""
        if self._thread.is_alive():
            self._call(self._stop())
            self._end()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_STOP_S)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()

    async def _listen(self, port: int) -> int:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # not asyncio's, which forgets whom it is just letting in
        listener = socket.create_server((self.host, port), family=family)
        listener.setblocking(False)
        self._door = self._loop.create_task(self._let_in(listener))
        return int(listener.getsockname()[1])

    async def _by_air(
        self, medium: Medium, speed: float, cut_after_s: float, tell: Callable[[Decision | Outage], None]
    ) -> None:
        air = self._ways.air = Air(medium, speed, tell)
        tasks: set[asyncio.Task[int]] = set()

        def cut() -> None:
            task = self._loop.create_task(self._reset())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        self._watch = self._loop.create_task(air.watch(cut_after_s, cut))

    async def _let_in(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    connection, _ = await self._loop.sock_accept(listener)
                    if self._ways.air is not None:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
                    reader, writer = await asyncio.open_connection(sock=connection, limit=CHUNK)
                except OSError:  # it has left already; or no file can be opened, until others have left
                    await asyncio.sleep(_AGAIN_S)
                    continue
                self._connections += 1
                pair = Pair(writer)
                self._pairs.add(pair)
                pair.task = self._loop.create_task(self._serve(pair, reader, writer))

    async def _bolt(self) -> None:
        if self._door is not None:
            self._door.cancel()
            await asyncio.wait([self._door])
            self._door = None

    async def _set(self, passage: Passage) -> None:
        if passage is Passage.REFUSE:
            await self._bolt()
            await self._reset()
        elif self._door is None:
            await self._listen(self.port)
        self._passage = passage
        (self._ways.open.set if passage is Passage.FORWARD else self._ways.open.clear)()

    async def _stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._set(Passage.REFUSE)

    async def _reset(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        await asyncio.gather(*(pair.ended() for pair in pairs))
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn
        self._pairs.difference_update(pairs)  # one that was cancelled before it began has not left by itself
        self._cut += len(pairs)
        return len(pairs)

    async def _shape(self, up: Conditions, down: Conditions) -> None:
        self._ways.conditions = {Direction.UP: up, Direction.DOWN: down}

    async def _serve(self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._ways.open.wait()
            away = await self._connect()
            pair.writers.append(away[1])
            await exchange(self._ways, (reader, writer), away)
        except (OSError, asyncio.CancelledError):
            pair.reset()  # the other side shall learn of it too
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(host, port, limit=CHUNK)
        except OSError:  # a timeout is one too
            self._refused += 1
            raise
        if self._ways.air is not None:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        return reader, writer
