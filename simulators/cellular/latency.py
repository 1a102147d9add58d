"""How long one uplink transfer takes, as a sum of what happens to it.

    wait       for the next chance to ask, or for the configured grant: uniform in [0, period)
    grant      from the request to the data slot: T ceil((tti + t_gnb + tti + t_ue) / T); 0 with a configured grant
    data       (blocks - 1) block / rate + air, blocks = ceil(bits / block): of T and tti where blocks are slots
    decoding   t_gnb
    HARQ       n times the time from a failed block to the end of its next try
    core       a floor and a log-normal: radio network, gateways and the way to the server

T is the distance of uplink slots: one slot with frequency duplex, a period of the pattern with time duplex. With LTE's
tti 1, t_gnb 3 and t_ue 3 ms, wait, grant, data and decoding are the 17 ms of TR 36.881, table 5.2.1-1 (10 ms period;
quoted from memory), and T ceil(...) is its HARQ round trip of 8 ms. A block fails with the BLER, independently at each
of at most ``tries``; of the k blocks of a transfer, sent side by side, the slowest counts:
P(n <= j) = (1 - BLER^(j + 1))^k.

Not modelled: other users in the queue, a second grant after the buffer report, RLC's own retransmission, TCP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.cellular.rates import Ladder
from simulators.cellular.streams import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a device gets to send. Times in ms.

    ``request_period_ms``: of scheduling requests, or of the grant when ``configured``. ``uplink_every_ms``: distance of
    uplink slots. ``device_ms``, ``station_ms``: to prepare and to decode. ``tries``: transmissions of a block at most.
    """

    tti_ms: float
    uplink_every_ms: float
    request_period_ms: float
    device_ms: float
    station_ms: float
    configured: bool = False
    bler: float = 0.1
    tries: int = 4

    def __post_init__(self) -> None:
        if not (0 < self.tti_ms <= self.uplink_every_ms < math.inf and 0 <= self.request_period_ms < math.inf):
            raise ValueError(f"an uplink slot of {self.tti_ms} ms does not fit every {self.uplink_every_ms} ms")
        if not (0 <= self.device_ms < math.inf and 0 <= self.station_ms < math.inf):
            raise ValueError(f"times to prepare are finite and not below 0: {self.device_ms} ms, {self.station_ms} ms")
        if not (0 <= self.bler < 1 and self.tries >= 1):
            raise ValueError(f"BLER {self.bler} must be in [0, 1) and tries {self.tries} at least 1")

    @property
    def turn_ms(self) -> float:
        """From the start of an uplink slot to the start of the one that answers what it said: asking, or failing."""
        busy_ms = self.tti_ms + self.station_ms + self.tti_ms + self.device_ms
        return self.uplink_every_ms * math.ceil(busy_ms / self.uplink_every_ms - 1e-9)

    @property
    def grant_ms(self) -> float:
        """From the chance to ask to the data slot."""
        return self.device_ms if self.configured else self.turn_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """Delay behind the radio, one way: ``floor_ms`` and a log-normal of that median and sigma."""

    floor_ms: float
    median_ms: float
    sigma: float

    def __post_init__(self) -> None:
        if not (0 <= self.floor_ms < math.inf and 0 < self.median_ms < math.inf and 0 <= self.sigma < math.inf):
            raise ValueError(
                f"a delay of floor {self.floor_ms} ms, median {self.median_ms} ms and sigma {self.sigma} cannot be:"
                " legal are floor >= 0, median > 0, sigma >= 0"
            )

    def delay_ms(self, normal: Floats) -> Floats:
        """Delays by standard normals."""
        drawn = normal * np.float32(self.sigma)
        drawn += np.float32(math.log(self.median_ms))
        np.exp(drawn, out=drawn)
        drawn += np.float32(self.floor_ms)
        return drawn


@dataclass(frozen=True, slots=True)
class Plan:
    """A transfer of one size on every rung of a ladder.

    ``floor_ms``: without wait, retransmission and core, ``inf`` where nothing can be sent; ``data_ms`` is the part of
    it that carries data. ``harq_ms``: of one retransmission. ``above``: (tries, rungs); a uniform from ``above[j]`` on
    means more than ``j`` retransmissions. ``air_s``: time that the device sends.
    """

    floor_ms: Floats
    data_ms: tuple[float, ...]
    harq_ms: Floats
    above: Floats
    air_s: tuple[float, ...]
    wait_ms: float

    def radio_ms(self, rung: NDArray[np.uint8], wait: Floats, harq: Floats) -> Floats:
        """Latency over the air by a uniform each for the wait and for retransmissions; ``inf`` on rung 0."""
        latency = self.floor_ms.take(rung)
        latency += wait * np.float32(self.wait_ms)
        again = self.retries(rung, harq)
        again *= _at(self.harq_ms, rung)
        latency += again
        return latency

    def retries(self, rung: NDArray[np.uint8], harq: Floats) -> Floats:
        """Retransmissions of the slowest block."""
        again = np.zeros(rung.shape, dtype=np.float32)
        for threshold in self.above[:-1]:
            again += harq >= _at(threshold, rung)
        return again

    def failures(self, rung: int, harq: float) -> int:
        """How many tries of the slowest block fail; when all do, it is lost."""
        return sum(harq >= threshold for threshold in self.above[:, rung].tolist())

    def mean_retries(self, rung: int) -> float:
        """Expectation of `retries`."""
        return float(sum(1 - threshold[rung] for threshold in self.above[:-1]))

    def lost(self, rung: NDArray[np.uint8], harq: Floats) -> NDArray[np.bool_]:
        """Whether a block failed at every try."""
        return harq >= _at(self.above[-1], rung)


def plan(access: Access, ladder: Ladder, size_bytes: int) -> Plan:
    """What sending ``size_bytes``, headers included, takes; raises ValueError below one byte."""
    if size_bytes < 1:
        raise ValueError(f"{size_bytes} bytes cannot be sent: at least 1")
    bits = 8 * size_bytes
    blocks = [1, *(math.ceil(bits / block - 1e-9) for block in ladder.block_bits[1:])]
    data_ms = [_data_ms(ladder, rung, count) for rung, count in enumerate(blocks)]
    floor_ms = [access.grant_ms + data + access.station_ms for data in data_ms]
    # (1 - q)^k by logarithms: q may be far below the rounding of 1
    above = [
        [math.exp(count * math.log1p(-(access.bler**failed))) if access.bler else 1.0 for count in blocks]
        for failed in range(1, access.tries + 1)
    ]
    return Plan(
        floor_ms=np.array(floor_ms, dtype=np.float32),
        data_ms=tuple(data_ms),
        harq_ms=np.array([1e3 * harq_s for harq_s in ladder.harq_s], dtype=np.float32),
        above=np.array(above, dtype=np.float32),
        air_s=tuple(count * air_s for count, air_s in zip(blocks, ladder.air_s, strict=True)),
        wait_ms=access.request_period_ms,
    )


def _at(column: Floats, rung: NDArray[np.uint8]) -> Floats | np.float32:
    """The rung's entry; one number where all rungs have the same, which is faster."""
    return np.float32(column[0]) if bool((column == column[0]).all()) else column.take(rung)


def _data_ms(ladder: Ladder, rung: int, blocks: int) -> float:
    rate = ladder.bits_per_s[rung]
    if not rate:
        return math.inf
    return ((blocks - 1) * ladder.block_bits[rung] / rate + ladder.air_s[rung]) * 1e3
