"""The socket under a collector's paho: every byte, in order, whatever the sizes and however slow the other side is."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.transport.bulk import BufferedSocket


@contextlib.contextmanager
def pair() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield BufferedSocket(ours), theirs


def all_of(line: BufferedSocket, sizes: list[int]) -> bytes:
    """Read with those sizes in turn until there is nothing more."""
    found = bytearray()
    with contextlib.suppress(BlockingIOError):
        while True:
            for size in sizes:
                piece = line.recv(size)
                assert 0 < len(piece) <= size
                found += piece
    return bytes(found)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_what_was_sent_is_read_whatever_the_sizes(sent: list[bytes], sizes: list[int]) -> None:
    with pair() as (line, peer):
        for piece in sent:
            peer.sendall(piece)
        assert all_of(line, sizes) == b"".join(sent)
        assert line.pending() == 0
        peer.sendall(b"more")
        assert all_of(line, sizes) == b"more"


def test_the_end_of_the_stream_comes_after_what_was_read_ahead() -> None:
    with pair() as (line, peer):
        peer.sendall(b"abc")
        peer.close()
        assert [line.recv(1) for _ in range(5)] == [b"a", b"b", b"c", b"", b""]


def test_gathered_pieces_leave_together_and_in_order() -> None:
    with pair() as (line, peer):
        peer.setblocking(False)
        line.cork()
        assert [line.send(piece) for piece in (b"ab", b"c")] == [2, 1]
        with pytest.raises(BlockingIOError):
            peer.recv(10)
        assert line.unsent
        line.uncork()
        assert (peer.recv(10), line.unsent) == (b"abc", False)
        assert line.send(b"d") == 1
        assert peer.recv(10) == b"d"


def test_what_a_slow_reader_does_not_take_is_kept_and_nothing_overtakes_it() -> None:
    pieces = [bytes([number]) * 50_000 for number in range(100)]
    with pair() as (line, peer):
        line.cork()
        for piece in pieces[:-1]:
            line.send(piece)
        line.uncork()
        assert line.unsent
        line.send(pieces[-1])  # not corked, and still behind the rest
        found = bytearray()
        while len(found) < sum(map(len, pieces)):
            found += peer.recv(1 << 16)
            line.uncork()
        assert found == b"".join(pieces)
        assert not line.unsent


def test_a_broken_line_is_an_os_error() -> None:
    with pair() as (line, peer):
        peer.close()
        line.cork()
        line.send(b"x")
        with pytest.raises(OSError):
            line.uncork()
        line.close()
