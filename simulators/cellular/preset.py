"""A network, a device and a place: everything that a simulated cellular link is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from simulators.cellular.fading import Outages
from simulators.cellular.handover import Handover
from simulators.cellular.latency import Access, Core
from simulators.cellular.pathloss import Scenario, check, path_loss_db, shadowing
from simulators.cellular.rates import Ladder, noise_dbm
from simulators.cellular.rrc import Radio


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the device stands and what is between it and the antenna.

    ``gain_db``: of both antennas. ``penetration_db``: walls. ``interference_db``: rise over thermal noise.
    ``allocation_hz``: what the device's power is spread over; None where the ladder is climbed by coupling loss.
    Raises ValueError for a place outside the range of TR 38.901, and for what is not finite.
    """

    scenario: Scenario
    frequency_ghz: float
    distance_m: float
    power_dbm: float
    gain_db: float
    noise_figure_db: float = 5.0
    interference_db: float = 3.0
    penetration_db: float = 0.0
    allocation_hz: float | None = None

    def __post_init__(self) -> None:
        check(self.scenario, self.distance_m, self.frequency_ghz)
        for name in ("power_dbm", "gain_db", "noise_figure_db", "interference_db", "penetration_db"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} of {getattr(self, name)} must be finite")
        if self.allocation_hz is not None and not 0 < self.allocation_hz < math.inf:
            raise ValueError(f"an allocation of {self.allocation_hz} Hz must be finite and above 0")

    def coupling_db(self, distance_m: float, *, los: bool) -> float:
        """Mean loss between the two antenna connectors; raises ValueError outside the range of TR 38.901."""
        loss_db = float(path_loss_db(self.scenario, distance_m, self.frequency_ghz, los=los))
        return loss_db + self.penetration_db - self.gain_db

    def signal_db(self, distance_m: float, *, los: bool) -> float:
        """Mean signal on the ladder's scale: SINR at the base station, or minus the coupling loss."""
        coupling_db = self.coupling_db(distance_m, los=los)
        if self.allocation_hz is None:
            return -coupling_db
        return self.power_dbm - coupling_db - noise_dbm(self.allocation_hz, self.noise_figure_db) - self.interference_db

    def shadowing(self, distance_m: float, *, los: bool) -> tuple[float, float]:
        """Standard deviation in dB and correlation distance in m."""
        return shadowing(self.scenario, distance_m, self.frequency_ghz, los=los)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A network as data. ``sources`` says where each part is from, by its name.

    ``overhead_bytes``: headers below the payload. ``correlation_m`` None: as TR 38.901 has it for the scenario.
    ``step_s``: of the outage chain and of shadowing.
    """

    name: str
    site: Site
    ladder: Ladder
    access: Access
    core: Core
    outages: Outages
    handover: Handover
    radio: Radio
    payload_bytes: int
    overhead_bytes: int
    speed_m_s: float
    correlation_m: float | None
    sources: Mapping[str, str]
    step_s: float = 1.0
