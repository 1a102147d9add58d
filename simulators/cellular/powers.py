"""What radios draw in each state and how long they stay in it: a figure each, with its source.

A phone's figures differ from a module's by an order of magnitude, so do not read a 5G energy here as that of a 5G
module: there is none with published figures by state.
"""

from __future__ import annotations

import math

from simulators.cellular.figures import Figure, derived, estimated, published, remembered
from simulators.cellular.rrc import Phase, Promotion, Radio, State

_HUANG = "Huang et al., MobiSys 2012, LTE phone, radio only"
_ARTIFACT = "Narayanan et al., SIGCOMM 2021, artifact"
_TABLE = "Narayanan et al., SIGCOMM 2021, tail power by network"
_NRF = "nRF9160 product specification, modem current consumption"
_SUPPLY = "at 3.7 V"

_LISTEN_S = estimated(0.1, "DRX inactivity timer of a usual configuration")
_IDLE_PHONE = remembered(20.0, f"{_HUANG}: 594 mW for 43 ms every 1.28 s")
_PROMOTING_PHONE = remembered(1210.0, _HUANG)
_RELEASE = derived(10.2, f"{_ARTIFACT}: the silence after which round trips step up")
_LTE_CONNECTED = remembered(1288.0, _HUANG)
_LTE_PER_MEGABIT = remembered(438.0, _HUANG)


def _phone(connected_mw: Figure, per_megabit: Figure, drx_mw: Figure, release_s: Figure, promotion_s: Figure) -> Radio:
    """A phone: listening, DRX until the release, idle."""
    return Radio(
        phases=(
            Phase(State.TAIL, _LISTEN_S.value, connected_mw),
            Phase(State.DRX, release_s.value, drx_mw),
            Phase(State.IDLE, math.inf, _IDLE_PHONE),
        ),
        promotions={State.IDLE: Promotion(promotion_s, _PROMOTING_PHONE)},
        connected_mw=connected_mw,
        sending_mw=connected_mw,
        mj_per_megabit=per_megabit,
    )


def _module(*, drx_mw: Figure, idle_mw: Figure, wake_s: Figure, wake_mw: Figure, idle_promotion_s: Figure) -> Radio:
    """An nRF9160: DRX until the release, idle until the active time is over, then power saving mode."""
    connected = derived(45 * 3.7, f"{_NRF}: uplink at 0 dBm takes 45 mA {_SUPPLY}; listening is at most that")
    return Radio(
        phases=(
            Phase(State.DRX, 10.0, drx_mw),
            Phase(State.IDLE, 20.0, idle_mw),
            Phase(State.PSM, math.inf, published(2.7e-3 * 3.7, f"{_NRF}: 2.7 uA {_SUPPLY}")),
        ),
        promotions={
            State.IDLE: Promotion(idle_promotion_s, wake_mw),
            State.PSM: Promotion(wake_s, wake_mw),
        },
        connected_mw=connected,
        sending_mw=derived(300 * 3.7, f"Nordic nWP-034: peak of about 300 mA at 23 dBm, {_SUPPLY}"),
        mj_per_megabit=estimated(0.0, "in sending_mw already"),
    )


SA_MID = _phone(
    derived(1561.0, f"LTE's 1288 mW and the 273 mW by which 5G low band exceeds LTE on one phone ({_ARTIFACT})"),
    estimated(32.2, f"slope of uplink power of NSA low band ({_ARTIFACT}), for want of one of SA"),
    remembered(593.0, f"{_TABLE}: T-Mobile SA"),
    _RELEASE,
    derived(0.2, f"{_ARTIFACT}: idle medians of reach.py"),
)
NSA_LOW = _phone(
    derived(1561.0, f"LTE's 1288 mW and the 273 mW by which 5G low band exceeds LTE on one phone ({_ARTIFACT})"),
    published(32.2, f"{_ARTIFACT}: slope of uplink power, NSA low band"),
    remembered(260.0, f"{_TABLE}: T-Mobile NSA"),
    _RELEASE,
    derived(0.2, f"{_ARTIFACT}: idle medians of reach.py"),
)
NSA_MMWAVE = _phone(
    derived(4026.0, f"LTE's 1288 mW and the 2738 mW by which mmWave exceeds LTE on one phone ({_ARTIFACT})"),
    published(8.88, f"{_ARTIFACT}: slope of uplink power, NSA mmWave"),
    remembered(1092.0, f"{_TABLE}: Verizon NSA mmWave"),
    _RELEASE,
    derived(0.2, f"{_ARTIFACT}: idle medians of reach.py"),
)
LTE = _phone(
    _LTE_CONNECTED,
    _LTE_PER_MEGABIT,
    remembered(1060.0, _HUANG),
    remembered(11.6, _HUANG),
    remembered(0.26, _HUANG),
)
MODULE_LTE_M = _module(
    drx_mw=estimated(20.0, "45 mA for 10 of 320 ms, and waking up"),
    idle_mw=published(18e-3 * 3.7, f"{_NRF}: eDRX of 81.92 s, 18 uA {_SUPPLY}"),
    wake_s=published(1.5, f"{_NRF}: duration of a tracking area update from PSM, Cat M1"),
    wake_mw=derived(105 / 1.5, f"{_NRF}: 105 mJ in 1.5 s"),
    idle_promotion_s=estimated(0.5, "random access and connection without the search for a cell"),
)
MODULE_NB_IOT = _module(
    drx_mw=estimated(60.0, "45 mA for a third of the time: NPDCCH is listened to without DRX"),
    idle_mw=published(37e-3 * 3.7, f"{_NRF}: eDRX of 81.92 s, 37 uA {_SUPPLY}"),
    wake_s=published(2.7, f"{_NRF}: duration of a tracking area update from PSM, Cat NB1"),
    wake_mw=derived(550 / 2.7, f"{_NRF}: 550 mJ in 2.7 s"),
    idle_promotion_s=estimated(1.0, "random access and connection without the search for a cell"),
)
"""Release after 10 s and active time (T3324) of 10 s: estimates, as networks have them."""
