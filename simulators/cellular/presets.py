"""Networks as data, part by part with its source: phones on 5G and LTE, modules on LTE-M and NB-IoT.

The *artifacts* are the public traces of Narayanan et al., "A Variegated Look at 5G in the Wild", SIGCOMM 2021, and of
Hassan et al., "Vivisecting Mobility Management in 5G Cellular Networks", SIGCOMM 2022, reduced to parameters; the
traces are no part of this project. Places, gains, walls, shares and core delays are choices: change them with
`dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import replace

from simulators.cellular import powers
from simulators.cellular.coverage import LTE_M, NB_IOT, coverage_ladder
from simulators.cellular.fading import Outages
from simulators.cellular.handover import Handover
from simulators.cellular.latency import Access, Core
from simulators.cellular.pathloss import Scenario
from simulators.cellular.preset import Preset, Site
from simulators.cellular.rates import cqi_ladder
from tamiyo_runtime.contracts.errors import UnknownNameError

_ARTIFACTS = "SIGCOMM 2021 and 2022 artifacts"
_SOURCES = {
    "site": "path loss and shadowing: TR 38.901; place, gains, walls, interference, allocation: chosen",
    "ladder": "CQI of TS 38.214, SINR of the AIMM simulator, peak of TS 38.306 and TS 36.306",
    "access": "N2 of TS 38.214, LTE's times of TR 36.881 (memory); request period, pattern and station: chosen",
    "core": "estimate, by Ookla medians of 12.5 to 43.5 ms round trip to servers within 100 km",
    "outages": f"{_ARTIFACTS}: 1 s steps below 1 Mb/s (mmWave, for every 5G)",
    "handover": f"{_ARTIFACTS}: execution times; distance of edges: chosen",
    "radio": "powers.py, figure by figure",
    "overhead_bytes": "IPv4, TCP and a TLS record 69, PDCP, RLC and MAC 11",
    "correlation_m": f"{_ARTIFACTS}: log rate 1 s apart, .76 on 5G and .89 on LTE, at 1.4 m/s",
}
_SOURCES_MODULE = {
    **_SOURCES,
    "ladder": "transport blocks of TS 36.213, MCL of TR 45.820; classes and repetitions: chosen, see coverage.py",
    "access": "periods of random access and control, and preparation: chosen",
    "core": "estimate, without a measurement",
    "outages": "none: no published figures found",
    "overhead_bytes": "IPv4, UDP and DTLS 57, PDCP, RLC and MAC 11",
    "correlation_m": "TR 38.901, table 7.5-6",
}
_OUTAGES_5G = Outages(begins=0.0119, ends=0.46)
_OUTAGES_LTE = Outages(begins=0.0044, ends=0.38)
_NO_OUTAGES = Outages(begins=0.0, ends=1.0)
_WALK_M_S = 1.4
_PAYLOAD_BYTES = 16 << 10  # what a broker with default settings takes for certain
_MODULE_PAYLOAD_BYTES = 1200  # a datagram below the smallest MTU of IPv6

_TDD_30 = Access(tti_ms=0.5, uplink_every_ms=2.5, request_period_ms=10.0, device_ms=12 / 14 / 2, station_ms=1.0)
_FDD_15 = Access(tti_ms=1.0, uplink_every_ms=1.0, request_period_ms=10.0, device_ms=10 / 14, station_ms=1.5)
_TDD_120 = Access(tti_ms=0.125, uplink_every_ms=0.625, request_period_ms=5.0, device_ms=36 / 14 / 8, station_ms=0.5)
_LTE = Access(tti_ms=1.0, uplink_every_ms=1.0, request_period_ms=10.0, device_ms=3.0, station_ms=3.0)
_LTE_M = Access(tti_ms=1.0, uplink_every_ms=1.0, request_period_ms=20.0, device_ms=4.0, station_ms=3.0)
_NB_IOT = Access(tti_ms=1.0, uplink_every_ms=1.0, request_period_ms=160.0, device_ms=8.0, station_ms=12.0)

_LTE_SITE = Site(
    scenario=Scenario.UMA,
    frequency_ghz=1.8,
    distance_m=300.0,
    power_dbm=23.0,
    gain_db=15.0,
    allocation_hz=9e6,
)
_MODULE_SITE = Site(
    scenario=Scenario.UMA,
    frequency_ghz=0.8,
    distance_m=1000.0,
    power_dbm=23.0,
    gain_db=12.0,
    penetration_db=20.0,
)

_5G_SA_MID_BAND = Preset(
    name="5g-sa-mid-band",
    site=Site(
        scenario=Scenario.UMA,
        frequency_ghz=3.5,
        distance_m=300.0,
        power_dbm=26.0,
        gain_db=18.0,
        allocation_hz=51 * 12 * 30e3,
    ),
    ladder=cqi_ladder(numerology=1, blocks=51, uplink_share=0.2, harq_s=_TDD_30.turn_ms * 1e-3),  # DDDSU
    access=_TDD_30,
    core=Core(floor_ms=1.0, median_ms=6.0, sigma=0.4),
    outages=_OUTAGES_5G,
    handover=Handover(median_ms=54.0, p95_ms=57.0, spacing_m=400.0, source=f"{_ARTIFACTS}: SA"),
    radio=powers.SA_MID,
    payload_bytes=_PAYLOAD_BYTES,
    overhead_bytes=80,
    speed_m_s=_WALK_M_S,
    correlation_m=5.1,
    sources=_SOURCES,
)
_5G_NSA_LOW_BAND = Preset(
    name="5g-nsa-low-band",
    site=Site(
        scenario=Scenario.UMA,
        frequency_ghz=0.7,
        distance_m=600.0,
        power_dbm=23.0,
        gain_db=15.0,
        allocation_hz=25 * 12 * 15e3,
    ),
    ladder=cqi_ladder(numerology=0, blocks=25, harq_s=_FDD_15.turn_ms * 1e-3),
    access=_FDD_15,
    core=Core(floor_ms=1.0, median_ms=4.0, sigma=0.4),
    outages=_OUTAGES_5G,
    handover=Handover(median_ms=31.5, p95_ms=54.5, spacing_m=800.0, source=f"{_ARTIFACTS}: NSA PCell, low band"),
    radio=powers.NSA_LOW,
    payload_bytes=_PAYLOAD_BYTES,
    overhead_bytes=80,
    speed_m_s=_WALK_M_S,
    correlation_m=5.1,
    sources=_SOURCES,
)
_5G_NSA_MMWAVE = Preset(
    name="5g-nsa-mmwave",
    site=Site(
        scenario=Scenario.UMI,
        frequency_ghz=28.0,
        distance_m=80.0,
        power_dbm=23.0,
        gain_db=35.0,
        allocation_hz=66 * 12 * 120e3,
    ),
    ladder=cqi_ladder(numerology=3, blocks=66, uplink_share=0.2, overhead=0.10, harq_s=_TDD_120.turn_ms * 1e-3),
    access=_TDD_120,
    core=Core(floor_ms=1.0, median_ms=2.0, sigma=0.4),
    outages=_OUTAGES_5G,
    handover=Handover(median_ms=52.0, p95_ms=83.5, spacing_m=150.0, source=f"{_ARTIFACTS}: NSA mmWave"),
    radio=powers.NSA_MMWAVE,
    payload_bytes=_PAYLOAD_BYTES,
    overhead_bytes=80,
    speed_m_s=_WALK_M_S,
    correlation_m=5.1,
    sources=_SOURCES,
)
_LTE_CAT4 = Preset(
    name="lte-cat4",
    site=_LTE_SITE,
    ladder=cqi_ladder(numerology=0, blocks=50, peak_bits_per_s=51.024e6, harq_s=_LTE.turn_ms * 1e-3),
    access=_LTE,
    core=Core(floor_ms=1.0, median_ms=5.0, sigma=0.5),
    outages=_OUTAGES_LTE,
    handover=Handover(median_ms=19.5, p95_ms=44.0, spacing_m=800.0, source=f"{_ARTIFACTS}: LTE"),
    radio=powers.LTE,
    payload_bytes=_PAYLOAD_BYTES,
    overhead_bytes=80,
    speed_m_s=_WALK_M_S,
    correlation_m=12.0,
    sources=_SOURCES,
)
_LTE_CAT1 = replace(
    _LTE_CAT4,
    name="lte-cat1",
    ladder=cqi_ladder(numerology=0, blocks=50, peak_bits_per_s=5.16e6, harq_s=_LTE.turn_ms * 1e-3),
)
_LTE_M_PRESET = Preset(
    name="lte-m",
    site=_MODULE_SITE,
    ladder=coverage_ladder(LTE_M),
    access=_LTE_M,
    core=Core(floor_ms=10.0, median_ms=40.0, sigma=0.5),
    outages=_NO_OUTAGES,
    handover=Handover(median_ms=19.5, p95_ms=44.0, spacing_m=2000.0, source=f"{_ARTIFACTS}: LTE"),
    radio=powers.MODULE_LTE_M,
    payload_bytes=_MODULE_PAYLOAD_BYTES,
    overhead_bytes=68,
    speed_m_s=0.0,
    correlation_m=None,
    sources=_SOURCES_MODULE,
)
_NB_IOT_PRESET = Preset(
    name="nb-iot",
    site=_MODULE_SITE,
    ladder=coverage_ladder(NB_IOT),
    access=_NB_IOT,
    core=Core(floor_ms=20.0, median_ms=60.0, sigma=0.6),
    outages=_NO_OUTAGES,
    handover=Handover(median_ms=19.5, p95_ms=44.0, spacing_m=2000.0, source="LTE's: NB-IoT has none, it selects anew"),
    radio=powers.MODULE_NB_IOT,
    payload_bytes=_MODULE_PAYLOAD_BYTES,
    overhead_bytes=68,
    speed_m_s=0.0,
    correlation_m=None,
    sources=_SOURCES_MODULE,
)

PRESETS = {
    one.name: one
    for one in (
        _5G_SA_MID_BAND,
        _5G_NSA_LOW_BAND,
        _5G_NSA_MMWAVE,
        _LTE_CAT4,
        _LTE_CAT1,
        _LTE_M_PRESET,
        _NB_IOT_PRESET,
    )
}
"""Every preset by name."""


def preset(name: str) -> Preset:
    """A preset by name; raises UnknownNameError with near or all names."""
    try:
        return PRESETS[name]
    except KeyError:
        raise UnknownNameError("cellular preset", name, PRESETS) from None
