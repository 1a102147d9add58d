"""US902-928, from LoRaMac-node ``src/mac/region/RegionUS915.h`` and the tables of LoRaWAN regional parameters RP002.

No duty cycle; a transmission on a 125 kHz channel lasts 400 ms at most, which is where the payload limits of DR0 to
DR2 come from (a test shows it; DR3 fills a frame of 255 bytes). Plan ``fsb2`` is the second block of eight channels and
its 500 kHz channel, what one eight-channel gateway hears and The Things Network uses.
"""

from __future__ import annotations

from simulators.lorawan.region import Channel, DataRate, Region, SubBand, regions


def _rate(factor: int, khz: int, most: int, repeater: int) -> DataRate:
    return DataRate(
        spreading_factor=factor, bandwidth_hz=khz * 1000, max_payload_bytes=most, via_repeater_bytes=repeater
    )


_UPLINK = {
    0: _rate(10, 125, 11, 11),
    1: _rate(9, 125, 53, 53),
    2: _rate(8, 125, 125, 125),
    3: _rate(7, 125, 242, 222),
    4: _rate(8, 500, 242, 222),
}
_DOWNLINK = {
    8: _rate(12, 500, 53, 33),
    9: _rate(11, 500, 129, 109),
    10: _rate(10, 500, 242, 222),
    11: _rate(9, 500, 242, 222),
    12: _rate(8, 500, 242, 222),
    13: _rate(7, 500, 242, 222),
}
_NARROW = tuple(Channel(frequency_hz=902_300_000 + 200_000 * number, data_rates=range(4)) for number in range(64))
_WIDE = tuple(Channel(frequency_hz=903_000_000 + 1_600_000 * number, data_rates=range(4, 5)) for number in range(8))

US915 = Region(
    name="US915",
    uplink=_UPLINK,
    downlink=_DOWNLINK,
    plans={"fsb2": (*_NARROW[8:16], _WIDE[1]), "all": _NARROW + _WIDE},
    sub_bands=(SubBand(name="902-928", low_hz=902_000_000, high_hz=928_000_000, duty_cycle=1.0, max_eirp_dbm=30.0),),
    max_eirp_dbm=30.0,
    power_levels=15,
    rx1_data_rates={
        0: (10, 9, 8, 8),
        1: (11, 10, 9, 8),
        2: (12, 11, 10, 9),
        3: (13, 12, 11, 10),
        4: (13, 13, 12, 11),
    },
    rx1_frequencies_hz={
        channel.frequency_hz: 923_300_000 + 600_000 * (number % 8) for number, channel in enumerate(_NARROW + _WIDE)
    },
    rx2_frequency_hz=923_300_000,
    rx2_data_rate=8,
    dwell_s=0.4,
)
regions.register("us915")(US915)
