"""Standard input, one sample a line: ``sensor | tamiyo run BUNDLE --source stdin``.

The writer of a pipe can be held back, so by default nothing is lost: ``?drop=wait``.
"""

from __future__ import annotations

import sys

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import sources
from tamiyo_runtime.sources.inbox import SIZE, Drop, Inbox
from tamiyo_runtime.sources.reader import LineStream

_QUEUE_LIMIT = 1 << 16


def inbox_of(address: Address, label: str, *, drop: Drop) -> Inbox:
    """The queue that the options ``queue`` and ``drop`` ask for; raises InputError, UnknownNameError."""
    size = address.whole("queue", SIZE, low=1, high=_QUEUE_LIMIT)
    chosen = Drop(address.choice("drop", drop, tuple(Drop)))
    return Inbox(label, size=size, drop=chosen)


@sources.register("stdin")
class StdinSource:
    """Opens standard input."""

    @staticmethod
    def open(bundle: Bundle, address: Address) -> LineStream:
        """A stream that ends where the input does; raises InputError without one."""
        address.only("queue", "drop")
        if address.body:
            raise InputError(f"'{address.text}': stdin takes no path", hint="write --source stdin, or a path alone")
        inbox = inbox_of(address, "stdin", drop=Drop.WAIT)
        return LineStream(inbox, bundle.manifest.input, _Stdin, again=False)


class _Stdin:
    """The process's own descriptor, which is not ours to close."""

    def fileno(self) -> int:
        try:
            return sys.stdin.fileno()
        except (AttributeError, ValueError) as exc:  # None or closed: a service without input
            raise OSError(9, "standard input is closed") from exc

    def close(self) -> None:
        """Nothing."""
