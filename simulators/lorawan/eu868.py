"""EU863-870, from LoRaMac-node ``src/mac/region/RegionEU868.h`` and the tables of LoRaWAN regional parameters RP002.

Payloads via a repeater are what The Things Network lets through. ``ttn`` is its plan of eight channels, which is also
the usual one of eight-channel gateways. Region ``eu868-ttn`` has its second window at DR3, not the standard's DR0.
"""

from __future__ import annotations

from dataclasses import replace

from simulators.lorawan.region import Channel, DataRate, Region, SubBand, regions

_LORA = ((12, 125, 51), (11, 125, 51), (10, 125, 51), (9, 125, 115), (8, 125, 242), (7, 125, 242), (7, 250, 242))
_RATES = {
    index: DataRate(
        spreading_factor=factor, bandwidth_hz=khz * 1000, max_payload_bytes=most, via_repeater_bytes=min(most, 222)
    )
    for index, (factor, khz, most) in enumerate(_LORA)
} | {
    7: DataRate(
        spreading_factor=None, bandwidth_hz=150_000, max_payload_bytes=242, via_repeater_bytes=222, bit_rate=50_000
    )
}
_DEFAULT = tuple(
    Channel(frequency_hz=hz, data_rates=range(7 if hz == 868_300_000 else 6))
    for hz in (868_100_000, 868_300_000, 868_500_000)
)
_TTN = _DEFAULT + tuple(Channel(frequency_hz=867_100_000 + 200_000 * step, data_rates=range(6)) for step in range(5))
_ERP_14_DBM = 16.0  # EIRP, as LoRaMac-node has it: 14 dBm ERP is 16.15 dBm EIRP

EU868 = Region(
    name="EU868",
    uplink=_RATES,
    downlink=_RATES,
    plans={"default": _DEFAULT, "ttn": _TTN},
    # In the order in which a border belongs to a band: 868.0 to 868.6 comes before 865 to 868.
    sub_bands=(
        SubBand(name="868.0", low_hz=868_000_000, high_hz=868_600_000, duty_cycle=0.01, max_eirp_dbm=_ERP_14_DBM),
        SubBand(name="865.0", low_hz=865_000_000, high_hz=868_000_000, duty_cycle=0.01, max_eirp_dbm=_ERP_14_DBM),
        SubBand(name="863.0", low_hz=863_000_000, high_hz=865_000_000, duty_cycle=0.001, max_eirp_dbm=_ERP_14_DBM),
        SubBand(name="868.7", low_hz=868_700_000, high_hz=869_200_000, duty_cycle=0.001, max_eirp_dbm=_ERP_14_DBM),
        SubBand(name="869.4", low_hz=869_400_000, high_hz=869_650_000, duty_cycle=0.1, max_eirp_dbm=29.15),
        SubBand(name="869.7", low_hz=869_700_000, high_hz=870_000_000, duty_cycle=0.01, max_eirp_dbm=_ERP_14_DBM),
    ),
    max_eirp_dbm=_ERP_14_DBM,
    power_levels=8,
    rx1_data_rates={index: tuple(max(index - offset, 0) for offset in range(6)) for index in _RATES},
    rx2_frequency_hz=869_525_000,
    rx2_data_rate=0,
    join_accept_bytes=33,  # with the list of five more channels
)
regions.register("eu868")(EU868)
regions.register("eu868-ttn")(replace(EU868, name="EU868 of The Things Network", rx2_data_rate=3))
