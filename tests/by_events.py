"""The other way to the same history: devices and gateways stepped frame by frame, in order of time.

An oracle for `simulators.fleet.detail.settle`, which runs whole devices again and again. Here nobody assumes anything:
a device is held at each frame until the event engine has judged it. A real runtime is held in a thread of its own, of
which only one runs at a time.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Generator, Mapping
from queue import SimpleQueue

from simulators.fleet.detail.air import Medium, part
from simulators.fleet.detail.link import Frame, Judge
from simulators.lorawan.receiver import OnAir, Receiver
from simulators.lorawan.reception import Packets, Verdict

Stepped = Generator[Frame, bool, None]
"""Gives a frame, is told whether it was received, gives the next."""
_END, _BEGIN = 0, 1


def history(
    medium: Medium, devices: Mapping[int, Stepped], *, channels: int
) -> tuple[dict[int, list[Frame]], dict[tuple[int, float], Verdict]]:
    """Frames of each device, and what became of every packet by (device, start), those of the rest included."""
    gateways = medium.rest.packets.rssi_dbm.shape[0]
    receiver = Receiver(medium.ears, channels=channels, gateways=gateways)
    logs: dict[int, list[Frame]] = {number: [] for number in devices}
    verdicts: dict[tuple[int, float], Verdict] = {}
    events: list[tuple[float, int, int, OnAir]] = []

    def push(number: int, packets: Packets) -> None:
        for at in range(packets.start_s.size):
            packet = on_air(part(packets, [at]))
            heapq.heappush(events, (packet.start_s, _BEGIN, number, packet))

    def push_next(number: int, frame: Frame | None) -> None:
        if frame is not None:
            logs[number].append(frame)
            push(number, medium.make(number, [frame]))

    for number in set(medium.rest.device.tolist()):
        push(number, part(medium.rest.packets, (medium.rest.device == number).nonzero()[0]))
    for number, device in devices.items():
        push_next(number, next(device, None))
    while events:
        _, kind, number, packet = heapq.heappop(events)
        if kind == _BEGIN:
            receiver.begin(packet)
            heapq.heappush(events, (packet.end_s, _END, number, packet))
            continue
        verdict = verdicts[number, packet.start_s] = min(receiver.end(packet))
        if number in devices:
            try:
                push_next(number, devices[number].send(verdict is Verdict.RECEIVED))
            except StopIteration:
                continue
    return logs, verdicts


def on_air(packets: Packets) -> OnAir:
    """The only packet of these."""
    return OnAir(
        start_s=packets.start_s.item(),
        end_s=packets.end_s.item(),
        vulnerable_s=packets.vulnerable_s.item(),
        channel=packets.channel.item(),
        modulation=packets.modulation.item(),
        rssi_dbm=packets.rssi_dbm[:, 0].tolist(),
    )


def held(run: Callable[[Judge], object]) -> Stepped:
    """A device that calls its judge, held at each call in a thread of its own."""
    frames: SimpleQueue[Frame | None] = SimpleQueue()
    told: SimpleQueue[bool] = SimpleQueue()

    def judge(frame: Frame) -> bool:
        frames.put(frame)
        return told.get(timeout=60)

    def work() -> None:
        run(judge)
        frames.put(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while (frame := frames.get(timeout=60)) is not None:
        told.put((yield frame))
    thread.join()
