"""How long a LoRa frame is on the air: the formula of Semtech's SX1276 data sheet ("Time on air") and AN1200.13.

    symbol    T = 2^SF / BW
    preamble  (n_preamble + 4.25) T
    payload   8 + max(ceil((8 PL - 4 SF + 28 + 16 CRC - 20 IH) / (4 (SF - 2 DE))) (CR + 4), 0) symbols

IH is 1 without the explicit header, DE is 1 with low-data-rate optimisation, which a LoRaWAN radio turns on when a
symbol takes longer than 16 ms. At spreading factors 5 and 6 an SX126x sends a preamble of n + 6.25 symbols and has no
8-bit shift in the numerator (20 in place of 28).
"""

from __future__ import annotations

from enum import StrEnum

LDRO_SYMBOL_S = 16e-3
_SX126X_SHORT_SF = (5, 6)


class Chip(StrEnum):
    """Family of the radio; they differ at spreading factors 5 and 6 only."""

    SX127X = "sx127x"
    SX126X = "sx126x"


def symbol_s(spreading_factor: int, bandwidth_hz: int) -> float:
    """Duration of a symbol."""
    return (1 << spreading_factor) / bandwidth_hz


def time_on_air_s(
    *,
    spreading_factor: int,
    bandwidth_hz: int,
    payload_bytes: int,
    coding_rate: int = 1,
    preamble: int = 8,
    explicit_header: bool = True,
    crc: bool = True,
    low_data_rate: bool | None = None,
    chip: Chip = Chip.SX127X,
) -> float:
    """Seconds on the air of one frame of ``payload_bytes`` (with the MAC's overhead).

    ``coding_rate`` 1..4 stands for 4/5..4/8; ``low_data_rate`` None turns the optimisation on where LoRaWAN does.
    Raises ValueError outside SF 5..12, 1..4 or 0..255 bytes.
    """
    if not 5 <= spreading_factor <= 12:
        raise ValueError(f"spreading factor {spreading_factor} is not in 5..12")
    if not 1 <= coding_rate <= 4:
        raise ValueError(f"coding rate {coding_rate} is not in 1..4 (4/5..4/8)")
    if not 0 <= payload_bytes <= 255:
        raise ValueError(f"a frame carries 0 to 255 bytes, not {payload_bytes}")
    if bandwidth_hz <= 0 or preamble < 0:
        raise ValueError(f"no radio has a bandwidth of {bandwidth_hz} Hz and a preamble of {preamble}")
    symbol = symbol_s(spreading_factor, bandwidth_hz)
    optimised = symbol > LDRO_SYMBOL_S if low_data_rate is None else low_data_rate
    short = chip is Chip.SX126X and spreading_factor in _SX126X_SHORT_SF
    bits = 8 * payload_bytes - 4 * spreading_factor + (20 if short else 28) + 16 * crc - 20 * (not explicit_header)
    bits_per_block = 4 * (spreading_factor - 2 * optimised)
    blocks = max(-(-bits // bits_per_block), 0)  # integer ceiling: a float one is wrong at block boundaries
    preamble_symbols = preamble + (6.25 if short else 4.25)
    return (preamble_symbols + 8 + blocks * (coding_rate + 4)) * symbol
