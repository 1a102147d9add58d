"""What each device did, in a few figures out of the store: ledger, latency, mode, losses, clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from collector.clocks import Fix
from collector.ledger import DeviceLedger
from collector.reading import Wanted
from collector.store import Device, Store
from tamiyo_runtime.contracts.records import Decision, Event, EventRecord, Window
from tamiyo_runtime.contracts.sketch import Sketch, merge

SHARES = (0.5, 0.95, 0.99)
_MERGED = 256  # sketches merged at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a device's windows add up to. ``latency``: of all their sketches, None when there is none.

    ``unsketched``: inferences in windows of versions that made no sketch, whose latencies cannot be merged.
    """

    windows: int = 0
    inferences: int = 0
    skipped: int = 0
    deadline_misses: int = 0
    energy_uj: int = 0
    unsketched: int = 0
    latency: Sketch | None = None

    def quantile_us(self, share: float) -> float | None:
        """A quantile of all latencies; None when nothing is known."""
        return None if self.latency is None else self.latency.quantile(share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A device. ``mode``: the last it told of, None when of none; ``fixes``: of each boot with a known clock."""

    device: Device
    ledger: tuple[DeviceLedger, ...]
    work: Work
    mode: str | None
    fixes: Mapping[int, Fix] = field(default_factory=dict)

    @property
    def lost(self) -> dict[str, int]:
        """Lost records of all boots, by reason."""
        lost: dict[str, int] = {}
        for entry in self.ledger:
            for reason, count in entry.lost.items():
                lost[reason] = lost.get(reason, 0) + count
        return lost


def summaries(store: Store, wanted: Wanted) -> Iterator[Summary]:
    """Of every device, or one. ``wanted.since_s`` and ``until_s`` restrict what windows and mode are of."""
    ledger, fixes = store.ledger(), store.fixes()
    for device in store.devices():
        if wanted.device not in (None, device.device):
            continue
        mine = Wanted(device=device.device, since_s=wanted.since_s, until_s=wanted.until_s)
        yield Summary(
            device=device,
            ledger=tuple(entry for entry in ledger if entry.device == device.device),
            work=_work(stored.record for stored in store.records(Window, mine) if isinstance(stored.record, Window)),
            mode=_mode(store, mine),
            fixes={boot: fix for (name, boot), fix in fixes.items() if name == device.device},
        )


def _work(windows: Iterable[Window]) -> Work:
    counts = dict.fromkeys(("windows", "inferences", "skipped", "deadline_misses", "energy_uj", "unsketched"), 0)
    sketches: list[Sketch] = []
    for window in windows:
        counts["windows"] += 1
        counts["inferences"] += window.inferences
        counts["skipped"] += window.skipped
        counts["deadline_misses"] += window.deadline_misses
        counts["energy_uj"] += window.energy_uj
        if window.latency_sketch is None:
            counts["unsketched"] += window.inferences
            continue
        sketches.append(window.latency_sketch)
        if len(sketches) >= _MERGED:
            sketches = [merge(sketches)]
    return Work(**counts, latency=merge(sketches) if sketches else None)


def _mode(store: Store, wanted: Wanted) -> str | None:
    """The mode of the latest decision or event that names one."""
    latest: tuple[float, int, str] | None = None
    for stored in store.records(Decision, wanted):
        assert isinstance(stored.record, Decision)
        said = stored.at_s, stored.seq, stored.record.mode.value
        latest = said if latest is None else max(latest, said)
    for stored in store.records(EventRecord, wanted):
        assert isinstance(stored.record, EventRecord)
        if stored.record.event is Event.MODE:
            said = stored.at_s, stored.seq, stored.record.detail.partition(" ")[0]  # why follows
            latest = said if latest is None else max(latest, said)
    return latest[2] if latest else None
