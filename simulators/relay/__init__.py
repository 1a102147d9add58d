"""A network between two programs on this machine that can be cut, slowed down and damaged, or be a link: a TCP relay.

Clients connect to the relay instead of to the server. Either it passes on what they say under `Conditions` that a test
sets at any time, for each direction on its own; or a *medium* decides, piece by piece, when bytes go and when they
arrive: one of the links of `tamiyo run --link` (`LinkMedium`), or a record of what one did (`Replay`). So the real
client and the real server meet a network, without root and without touching the machine's own.

    medium      pure: (time, direction, bytes that wait) -> how many go, when, when they arrive, after how many tries
    air         a medium in real time: one queue for all connections, first come first served
    pair        the four pumps of one connection
    service     the listener and its thread
    record      decisions as a file of JSON lines, and back

It works on the bytes of a stream. Both TCP connections end here, so that nothing is lost: what a link loses is sent
again and shows as delay, or, after `TRIES` tries, as a reset connection. TCP's own handshakes, acknowledgements and
congestion control stay on the machine and never meet the link. It listens on the loopback interface unless told
otherwise, and asks nobody for a password.
"""

from __future__ import annotations

from simulators.relay.conditions import CLEAR, Conditions, Figures, Passage
from simulators.relay.medium import TRIES, Decision, Direction, LinkMedium, Medium, Outage
from simulators.relay.service import HOST, Relay

__all__ = [
    "CLEAR",
    "HOST",
    "TRIES",
    "Conditions",
    "Decision",
    "Direction",
    "Figures",
    "LinkMedium",
    "Medium",
    "Outage",
    "Passage",
    "Relay",
]
