"""What a new bundle takes over the link that a plan is for, as `tamiyo update` would do it.

Over LoRa a bundle is not sent: it waits for a faster link (docs/update.md). How long it would take is told all the
same, at the shortest legal distance of its frames. Over cellular networks it comes at once; the presets know the uplink
only, so time is that of sending as much, and energy is that of a radio connected for so long.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulators.cellular.presets import preset
from simulators.fleet.group import Group
from simulators.fleet.kinds import CellularKind
from simulators.fleet.planning_lora import LoRa
from simulators.fleet.planning_terms import Device, Way
from simulators.links import open_link
from simulators.links.contact import Contact
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.link import Link
from tamiyo_runtime.update.chunks import FRAME_BYTES, LORA_PAYLOAD_BYTES, MAX_BYTES, Chunks, traffic

_LEAST_CHUNK_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCost:
    """A bundle of so many bytes over a link (simulated).

    ``sent``: whether it goes this way at all. ``seconds``: how long it takes, or would; None where a frame is too small
    for a piece. ``contact_s``: over a contact. ``energy_j`` of the device's radio and ``battery_share`` None where that
    is not known.
    """

    size_bytes: int
    sent: bool
    frames: int | None
    seconds: float | None
    contact_s: float
    energy_j: float | None
    battery_share: float | None


def update_cost(size_bytes: int, group: Group, device: Device, link: object, way: Way) -> UpdateCost:
    """The cost of an update for devices that send by ``way``; raises SchemaError for a size that is none."""
    if not 1 <= size_bytes <= MAX_BYTES:
        raise SchemaError("update", f"{size_bytes} bytes are no bundle", hint=f"1 to {MAX_BYTES} bytes")
    contact = Contact()
    contact_s = traffic(_chunks(size_bytes, contact.max_payload_bytes()), contact).seconds
    if isinstance(link, LoRa):
        return _over_lora(size_bytes, link, way, contact_s)
    kind = group.kind
    assert isinstance(kind, CellularKind)
    opened: Link = open_link(group.link)
    cost = traffic(_chunks(size_bytes, opened.max_payload_bytes()), opened)
    radio = preset(kind.preset).radio
    promotion = radio.promotions[radio.phases[-1].state]
    energy_j = 1e-6 * (promotion.energy_uj + float(radio.tail_uj(radio.connected_s)))
    energy_j += 1e-3 * radio.connected_mw.value * cost.seconds
    return UpdateCost(
        size_bytes=size_bytes,
        sent=True,
        frames=cost.frames,
        seconds=cost.seconds,
        contact_s=contact_s,
        energy_j=energy_j,
        battery_share=energy_j / device.battery_j,
    )


def _over_lora(size_bytes: int, link: LoRa, way: Way, contact_s: float) -> UpdateCost:
    payload_bytes = min(LORA_PAYLOAD_BYTES, link.largest_bytes(way))
    frames = seconds = None
    if payload_bytes >= FRAME_BYTES + _LEAST_CHUNK_BYTES:
        chunks = _chunks(size_bytes, payload_bytes)
        listed = -(-len(chunks.to_wire()) // chunks.chunk_bytes)
        frames = chunks.count + listed
        seconds = frames * link.frames_s(way, payload_bytes)
    return UpdateCost(
        size_bytes=size_bytes,
        sent=False,
        frames=frames,
        seconds=seconds,
        contact_s=contact_s,
        energy_j=None,
        battery_share=None,
    )


def _chunks(size_bytes: int, payload_bytes: int) -> Chunks:
    """Of a file of that size: what is in it does not change the count."""
    return Chunks.for_payload(bytes(size_bytes), payload_bytes)
