"""One client's connection and the relay's own to the server, and what carries bytes between the two."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
from collections.abc import Coroutine
from typing import Any

from simulators.relay.air import Air
from simulators.relay.conditions import CLEAR, Conditions, damaged
from simulators.relay.medium import Direction

CHUNK = 1 << 14
_SLICE_S = 0.02  # at a limited rate, bytes go in slices of about this long
_QUEUE = 64  # chunks on their way in one direction; a sender beyond that is held back, as by a full pipe
_RESET = struct.pack("ii", 1, 0)  # linger for no time: close with a reset

_Chunks = asyncio.Queue[tuple[float, bytes]]
"""Bytes and when they are due; no bytes at the end."""


class Ways:
    """What all connections have in common, for each direction; belongs to the relay's loop."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - simulation, not cryptography
        self.open = asyncio.Event()
        self.open.set()
        self.conditions: dict[Direction, Conditions] = dict.fromkeys(Direction, CLEAR)
        self.air: Air | None = None
        self.passed = dict.fromkeys(Direction, 0)
        self.damaged = 0


class Pair:
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


async def exchange(
    ways: Ways,
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Carry bytes both ways until both streams have ended; raises OSError when a connection breaks.

    A side that has said all it has to say may go on listening.
    """
    up: _Chunks = asyncio.Queue(_QUEUE)
    down: _Chunks = asyncio.Queue(_QUEUE)
    await _together(
        _take(ways, Direction.UP, near[0], up),
        _give(ways, Direction.UP, up, far[1]),
        _take(ways, Direction.DOWN, far[0], down),
        _give(ways, Direction.DOWN, down, near[1]),
    )


async def _take(ways: Ways, direction: Direction, reader: asyncio.StreamReader, chunks: _Chunks) -> None:
    """Read, apart from writing, so that a delay does not limit the rate."""
    loop = asyncio.get_running_loop()
    while True:
        await ways.open.wait()
        data = await reader.read(CHUNK)
        if data and ways.air is not None:
            await _by_air(ways.air, direction, data, chunks)
            continue
        now = ways.conditions[direction]
        delay_ms = now.delay_ms + (ways.rng.uniform(0.0, now.jitter_ms) if now.jitter_ms else 0.0)
        await chunks.put((loop.time() + delay_ms * 1e-3, data))
        if not data:
            return


async def _by_air(air: Air, direction: Direction, data: bytes, chunks: _Chunks) -> None:
    while data:
        decision = await air.carry(direction, len(data))
        if decision.lost:
            raise ConnectionResetError(f"{decision.size_bytes} bytes were lost {decision.tries} times")
        await chunks.put((air.wall_s(decision.arrives_s), data[: decision.size_bytes]))
        data = data[decision.size_bytes :]


async def _give(ways: Ways, direction: Direction, chunks: _Chunks, writer: asyncio.StreamWriter) -> None:
    """Write what is due, at the rate there is, until the end of the stream."""
    loop = asyncio.get_running_loop()
    free_s = loop.time()
    while True:
        due_s, data = await chunks.get()
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        if not data:
            with contextlib.suppress(OSError):
                writer.write_eof()
            return
        while data:
            await ways.open.wait()
            now = ways.conditions[direction]
            size = len(data) if math.isinf(now.bytes_per_s) else max(1, int(now.bytes_per_s * _SLICE_S))
            piece, data = data[:size], data[size:]
            if not math.isinf(now.bytes_per_s):
                await asyncio.sleep(free_s - loop.time())
                free_s = max(free_s, loop.time()) + len(piece) / now.bytes_per_s
            ways.passed[direction] += len(piece)
            piece, wrong = damaged(piece, now.damage, ways.rng)
            ways.damaged += wrong
            writer.write(piece)
            await writer.drain()


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all; the first that fails ends the others, and its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
