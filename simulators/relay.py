"""A network between two programs on this machine that can be cut, slowed down and damaged: a TCP relay in user space.

Clients connect to the relay instead of to the server; what they say is passed on under conditions that can be changed
at any time, for each direction on its own. So faults of a network meet the real client and the real server, without
root and without touching the machine's own network.

It works on the bytes of a stream: TCP itself loses nothing, so loss shows as delay or as a cut connection, as it does
to a program on a real network. It listens on the loopback interface unless told otherwise, and asks nobody for a
password.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.errors import InputError

T = TypeVar("T")
HOST = "127.0.0.1"

_CHUNK = 1 << 14
_SLICE_S = 0.02  # at a limited rate, bytes go in slices of about this long
_QUEUE = 64  # chunks on their way in one direction; a sender beyond that is held back, as by a full pipe
_STOP_S = 5.0
_RESET = struct.pack("ii", 1, 0)  # linger for no time: close with a reset


_Chunks = asyncio.Queue[tuple[float, bytes]]
"""Bytes and when they are due; no bytes at the end."""


class Passage(StrEnum):
    """What the relay does with connections."""

    FORWARD = "forward"
    REFUSE = "refuse"  # nobody listens: as a machine that is up with its server down
    SWALLOW = "swallow"  # accepted, and not a byte passes: as a router that drops everything; held bytes pass later


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How one direction is. ``damage``: the share of bytes of which one bit is turned over.

    Raises SchemaError for a figure out of range.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # up to that much more, uniformly; order is kept
    bytes_per_s: float = math.inf
    damage: float = 0.0

    def __post_init__(self) -> None:
        require_finite(delay_ms=self.delay_ms, jitter_ms=self.jitter_ms, damage=self.damage)
        require(self.delay_ms >= 0 and self.jitter_ms >= 0, "delay_ms", "must not be negative, nor jitter_ms")
        require(self.bytes_per_s > 0, "bytes_per_s", f"must be above 0, got {self.bytes_per_s}")
        require(0 <= self.damage <= 1, "damage", f"must be 0..1, got {self.damage}")


CLEAR = Conditions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the relay did so far: ``bytes_up`` went to the server, ``bytes_down`` to clients."""

    connections: int
    cut: int
    bytes_up: int
    bytes_down: int
    damaged: int


class Relay:
    """See the module's description. Every method may be called from any thread.

    ``target``: host and port of the server. ``port`` 0 takes a free one. ``seed`` decides jitter and damage. Raises
    InputError for a port that cannot be used.
    """

    def __init__(self, target: tuple[str, int], *, host: str = HOST, port: int = 0, seed: int = 0) -> None:
        self._target = target
        self._rng = random.Random(seed)  # noqa: S311 - simulation, not cryptography
        self._passage = Passage.FORWARD
        self._up = self._down = CLEAR
        self._door: asyncio.Task[None] | None = None
        self._pairs: set[_Pair] = set()
        self._connections = self._cut = 0
        self._figures = {"up": 0, "down": 0, "damaged": 0}
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self.host = host
        try:
            self.port = self._call(self._listen(port))
        except OSError as exc:
            self._end()
            raise InputError(
                f"port {port} of {host} cannot be used: {exc.strerror}", hint="choose another: port 0 takes any"
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
            cut=self._cut,
            bytes_up=self._figures["up"],
            bytes_down=self._figures["down"],
            damaged=self._figures["damaged"],
        )

    def close(self) -> None:
        """Cut everything and end; harmless when it has ended."""
        if self._thread.is_alive():
            self._call(self._set(Passage.REFUSE))
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
        listener = socket.create_server((self.host, port))  # not asyncio's, which forgets whom it is just letting in
        listener.setblocking(False)
        self._door = self._loop.create_task(self._let_in(listener))
        return int(listener.getsockname()[1])

    async def _let_in(self, listener: socket.socket) -> None:
        with listener:
            while True:
                connection, _ = await self._loop.sock_accept(listener)
                reader, writer = await asyncio.open_connection(sock=connection, limit=_CHUNK)
                self._connections += 1
                pair = _Pair(writer)
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
        (self._open.set if passage is Passage.FORWARD else self._open.clear)()

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
        self._up, self._down = up, down

    async def _serve(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._open.wait()
            away_reader, away_writer = await asyncio.open_connection(*self._target, limit=_CHUNK)
            pair.writers.append(away_writer)
            up: _Chunks = asyncio.Queue(_QUEUE)
            down: _Chunks = asyncio.Queue(_QUEUE)
            await _together(
                self._take(reader, up, lambda: self._up),
                self._give(away_writer, up, lambda: self._up, "up"),
                self._take(away_reader, down, lambda: self._down),
                self._give(writer, down, lambda: self._down, "down"),
            )
        except (OSError, asyncio.CancelledError):
            pair.reset()  # the other side shall learn of it too
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _take(self, reader: asyncio.StreamReader, chunks: _Chunks, conditions: Callable[[], Conditions]) -> None:
        """Read, apart from writing, so that a delay does not limit the rate."""
        while True:
            await self._open.wait()
            data = await reader.read(_CHUNK)
            now = conditions()
            delay_ms = now.delay_ms + (self._rng.uniform(0.0, now.jitter_ms) if now.jitter_ms else 0.0)
            await chunks.put((self._loop.time() + delay_ms * 1e-3, data))
            if not data:
                return

    async def _give(
        self, writer: asyncio.StreamWriter, chunks: _Chunks, conditions: Callable[[], Conditions], direction: str
    ) -> None:
        """Write what is due, at the rate there is, until the end of the stream."""
        free_s = self._loop.time()
        while True:
            due_s, data = await chunks.get()
            await asyncio.sleep(max(0.0, due_s - self._loop.time()))
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            while data:
                await self._open.wait()
                now = conditions()
                size = len(data) if math.isinf(now.bytes_per_s) else max(1, int(now.bytes_per_s * _SLICE_S))
                piece, data = data[:size], data[size:]
                if not math.isinf(now.bytes_per_s):
                    await asyncio.sleep(free_s - self._loop.time())
                    free_s = max(free_s, self._loop.time()) + len(piece) / now.bytes_per_s
                self._figures[direction] += len(piece)
                writer.write(self._damaged(piece, now.damage))
                await writer.drain()

    def _damaged(self, data: bytes, share: float) -> bytes:
        if share <= 0:
            return data
        out, place = bytearray(data), -1
        while True:  # the distances between damaged bytes are geometric: no need to draw for each byte
            gap = 1 if share >= 1 else 1 + int(math.log(1.0 - self._rng.random()) / math.log1p(-share))
            place += gap
            if place >= len(out):
                return bytes(out)
            out[place] ^= 1 << self._rng.randrange(8)
            self._figures["damaged"] += 1


class _Pair:
    """A client's connection and ours to the server."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.task: asyncio.Task[None] | None = None

    def reset(self) -> None:
        """End both at once, with a reset rather than a goodbye; what was on its way is gone."""
        for writer in self.writers:
            with contextlib.suppress(OSError, AttributeError):  # it may have ended by itself
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def ended(self) -> None:
        """Wait until nothing of it runs."""
        if self.task is not None:
            await asyncio.wait([self.task])

    def close(self) -> None:
        """Say goodbye."""
        for writer in self.writers:
            writer.close()


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all; the first that fails ends the others, and its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
