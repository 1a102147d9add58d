"""Orders as an operator makes them: from JSON on a command line, with a counter that need not be remembered.

The counter of an order is the time in milliseconds since 1970, or one more than the highest that a device has told of
for this key, whichever is higher. So an operator keeps no file, two who share a key need not talk to each other, and a
clock that is set back does not make orders that nobody obeys. What a device tells is not signed: a figure more than a
day ahead of the clock is not believed, since it would use up the counters of a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.document import load
from tamiyo_runtime.contracts.errors import InputError, SchemaError, SignatureError
from tamiyo_runtime.signing import SigningKey, look_into
from tamiyo_runtime.update.apply import list_of
from tamiyo_runtime.update.commands import LONGEST_S, SCHEMA, Command, parse
from tamiyo_runtime.update.messages import SHORT, digest_of
from tamiyo_runtime.update.record import Offer

_OF_OFFER = ("stage_percent", "again")
_BELIEVED_AHEAD_MS = 86400 * 1000
_CLOCKS_DIFFER_S = 300
"""An order's time begins so long before it was signed: a device's clock may be behind the operator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An order on its way. ``signers``: fingerprints, cut to ``SHORT`` digits; ``digest`` as devices report it."""

    envelope: bytes
    command: Command
    signers: tuple[str, ...]

    @property
    def digest(self) -> str:
        """What devices name it by."""
        return digest_of(self.envelope)

    @property
    def offer(self) -> Offer | None:
        """The bundle it offers, if it does."""
        return self.command.bundle

    @classmethod
    def of(cls, envelope: bytes) -> Sent:
        """What an envelope says; whether it is believed is the device's business. Raises InputError for no order."""
        try:
            payload, signers = look_into(envelope)
            return cls(envelope=envelope, command=parse(payload), signers=tuple(key[:SHORT] for key in signers))
        except (SignatureError, SchemaError) as exc:
            raise InputError(f"this is no signed order: {exc.message}", hint="make one: tamiyo update sign") from exc


def next_counter(now_s: float, known: Iterable[int] = ()) -> int:
    """A counter above those that devices are known to have obeyed; see the module's description."""
    now_ms = int(now_s * 1e3)
    return max([now_ms, *(count + 1 for count in known if count <= now_ms + _BELIEVED_AHEAD_MS)])


def command_of(
    body: Mapping[str, Any], *, counter: int, now_s: float, valid_s: int, device: str | None, fleet: str | None
) -> Command:
    """An order from its JSON, in which a bundle may be a file's path.

    Raises SchemaError for what cannot be ordered, InputError for a bundle that cannot be read.
    """
    if isinstance(body.get("bundle"), str):
        chunks = list_of(Path(body["bundle"]))
        offer: dict[str, Any] = {"sha256": chunks.sha256.hex(), "size_bytes": chunks.size_bytes}
        offer |= {name: body[name] for name in _OF_OFFER if name in body}
        body = {name: value for name, value in body.items() if name not in _OF_OFFER} | {"bundle": offer}
    signed_s = int(now_s)
    begins_s = max(0, signed_s - max(0, min(_CLOCKS_DIFFER_S, LONGEST_S - valid_s)))
    head = {"schema": SCHEMA, "counter": counter, "not_before_s": begins_s, "expires_s": signed_s + valid_s}
    target = {name: value for name, value in (("device", device), ("fleet", fleet)) if value is not None}
    return load(Command, {**body, **head, **target}, path="order")


def sign(command: Command, key: SigningKey) -> Sent:
    """The order, signed."""
    return Sent.of(command.sign(key))
