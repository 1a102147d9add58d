"""What a run will take, before it is begun: messages, memory, time. Estimates, of the order of the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simulators.fleet.answered import listens
from simulators.fleet.cellular import MESSAGES_AT_ONCE
from simulators.fleet.engine import expected_messages
from simulators.fleet.resolve import Resolved
from simulators.fleet.windows import Windows
from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.units import size

# of one busy x86-64 core: LoRa with one gateway and both rules of capture; each gateway more costs a third of that
_LORA_PER_S = 1.0e6
_GATEWAY_SHARE = 0.35
_ANSWERED_PER_S = 20e3
_ANSWERED_BYTES = 700  # of a packet: log, arrivals and their vector passes; the closed loop is held whole
_ATTEMPTS = 3  # of a confirmed message: 1 to 8
_CELLULAR_PER_S = 1.5e6
_TURN_S = 3e-4  # the first messages of all devices, then the second ones, and so on
_MEMORY = Path("/proc/meminfo")
_START_BYTES = 60 << 20
_DEVICE_BYTES = 800  # columns, counts, what is drawn of a device in a window
_DEVICE_GATEWAY_BYTES = 24
_PACKET_BYTES = 250
_PACKET_GATEWAY_BYTES = 40
_MESSAGE_BYTES = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Expected messages, bytes in memory at most, seconds of one core."""

    messages: float
    memory_bytes: float
    seconds: float


def forecast(resolved: Resolved, *, workers: int = 1) -> Forecast:
    """Of a run of a resolved scenario, in windows of the usual length."""
    expected = expected_messages(resolved)
    lora, cellular = expected[: len(resolved.lora)], expected[len(resolved.lora) :]
    gateways = len(resolved.scenario.gateways)
    asked = [listens(field) for field in resolved.lora]
    told = [0.0 if answers else count for count, answers in zip(lora, asked, strict=True)]
    windows = [count / Windows.of(field).count for field, count in zip(resolved.lora, told, strict=True)]
    answered = _ATTEMPTS * sum(count for count, answers in zip(lora, asked, strict=True) if answers)
    counts = [resolved.scenario.devices[number].count for number in resolved.cellular]
    turns = sum(messages / count for messages, count in zip(cellular, counts, strict=True))
    packets_bytes = max(windows, default=0.0) * (_PACKET_BYTES + gateways * _PACKET_GATEWAY_BYTES)
    held = [min(one, max(MESSAGES_AT_ONCE, one / count)) for one, count in zip(cellular, counts, strict=True)]
    messages_bytes = max(held, default=0.0) * _MESSAGE_BYTES  # those of a device are held together
    devices_bytes = resolved.scenario.count * (_DEVICE_BYTES + gateways * _DEVICE_GATEWAY_BYTES)
    memory = workers * (_START_BYTES + devices_bytes + max(packets_bytes, messages_bytes)) + answered * _ANSWERED_BYTES
    each = 1.0 + _GATEWAY_SHARE * (gateways - 1)
    seconds = sum(told) * each / _LORA_PER_S / workers + answered / _ANSWERED_PER_S
    seconds += sum(cellular) / _CELLULAR_PER_S + turns * _TURN_S
    return Forecast(messages=sum(expected), memory_bytes=memory, seconds=seconds)


def available_bytes(table: Path = _MEMORY) -> int | None:
    """Memory that can be had now, caches given up; None where the system does not say."""
    try:
        rows = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (row.split() for row in rows if row.startswith("MemAvailable:"))
    return next((int(words[1]) << 10 for words in found), None)


def check_memory(expected: Forecast, free_bytes: int | None) -> None:
    """Raise UsageError when a run would need more memory than there is."""
    if free_bytes is not None and expected.memory_bytes > free_bytes:
        raise UsageError(
            f"the run needs about {size(expected.memory_bytes)} of memory, {size(free_bytes)} are free",
            hint="fewer devices, messages or gateways, or fewer --workers",
        )
