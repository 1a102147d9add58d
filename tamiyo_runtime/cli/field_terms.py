"""What a run in the field is asked to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tamiyo_runtime.ages import DAYS
from tamiyo_runtime.cli.field_checks import NO_BROKER
from tamiyo_runtime.reserve import SHARE
from tamiyo_runtime.session import Plan

if TYPE_CHECKING:
    from collector.ledger import DeviceLedger
    from tamiyo_runtime.cli.simulated import Restart
    from tamiyo_runtime.meters.attribution import Total
    from tamiyo_runtime.summary import SessionSummary
    from tamiyo_runtime.telemetry import Counters
    from tamiyo_runtime.transport.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRequest:
    """What to run and where.

    ``throttle``: (start_s, slowdown) for simulated boards, ``faults``: what goes wrong with them, as
    `simulators.faults.kinds` reads it. ``state_dir``: where spool and store live.
    ``access``: what to show to a broker that is not ours. ``home_assistant``: appear there, on that broker.
    ``as_it_comes``: on a real clock, samples of a live stream are taken when they arrive, whatever the plan's period.
    ``allow_downgrade``: on this machine, run an older version of a bundle than ran before.
    """

    device: str = "host"
    link: str = "ethernet"
    broker: str = NO_BROKER
    access: Access | None = None
    home_assistant: bool = False
    flash_bytes_per_day: float | None = None
    spool_bytes: int = 64 << 20
    spool_days: float = DAYS
    spool_reserve: float = SHARE
    source: str = "bundle"
    device_id: str = "device-1"
    fleet: str = "default"
    state_dir: Path
    plan: Plan = field(default_factory=Plan)
    throttle: tuple[tuple[float, float], ...] = ()
    variant: str | None = None
    use_policy: bool = True
    seed: int = 0
    faults: tuple[str, ...] = ()
    allow_downgrade: bool = False
    as_it_comes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldResult:
    """What came of it. ``counters`` and ``ledger`` are None where there was no telemetry or no collector of ours.

    ``delivered``: a collector had stored all that the spool held before the run ended; ``trouble``: why not, if known;
    ``waiting``: records of this and of earlier starts that stay in the spool.
    ``board_total``: what a meter saw of the whole board, pauses included; None without a meter. ``restarts``: losses of
    power of a simulated board; all else but the ledger is of the time since the last one.
    """

    summary: SessionSummary
    link: str
    broker: str
    counters: Counters | None = None
    waiting: int = 0
    ledger: list[DeviceLedger] | None = None
    delivered: bool | None = None
    trouble: str | None = None
    spool: Path | None = None
    store: Path | None = None
    airtime_worst_hour_s: float | None = None
    board_total: Total | None = None
    restarts: tuple[Restart, ...] = ()
