"""What a link's name says of a fleet: a LoRaWAN region, or a cellular network with its options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import simulators.lorawan.scenario  # noqa: F401  regions and models file themselves
from simulators.lorawan.region import regions
from tamiyo_runtime.contracts.errors import SchemaError, UnknownNameError, UsageError

LORA = "lora-"
_FACTOR = re.compile(r"(?P<region>.+)-sf(?P<factor>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraKind:
    """A LoRaWAN region; ``data_rate`` where the name fixes one (``lora-eu868-sf9``)."""

    region: str
    data_rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellularKind:
    """A cellular preset and options of its link (``nb-iot?distance_m=2000``)."""

    preset: str
    options: Mapping[str, float] = field(default_factory=dict)


def kind_of(link: str) -> LoraKind | CellularKind:
    """What stands behind a link's name; raises SchemaError at ``link`` with near or all names."""
    from simulators.links.cellular import NETWORKS

    name, _, query = link.partition("?")
    if name in NETWORKS:
        return CellularKind(preset=NETWORKS[name], options=_options(link, query))
    region, data_rate = name.removeprefix(LORA), None
    if (fixed := _FACTOR.fullmatch(region)) and fixed["region"] in regions:
        region = fixed["region"]
        data_rate = _rate_of(region, int(fixed["factor"]))
    if not name.startswith(LORA) or region not in regions:
        known = [*NETWORKS, *(f"{LORA}{region}" for region in regions.names())]
        unknown = UnknownNameError("link of a fleet", name, known)
        raise SchemaError("link", unknown.message, hint=f"{unknown.hint or ''} (all: {', '.join(known)})")
    if query:
        raise SchemaError(
            "link", f"{name} has no options", hint=f"leave out ?{query}; [field] says what LoRa links share"
        )
    return LoraKind(region=region, data_rate=data_rate)


def _options(link: str, query: str) -> Mapping[str, float]:
    """Options as the link itself reads them: it is opened once, which also says whether there is coverage."""
    from simulators.links import open_link

    try:
        open_link(link)
    except UsageError as exc:
        raise SchemaError("link", exc.message.removeprefix("--link "), hint=exc.hint) from exc
    options = {key: float(value) for key, value in (part.split("=") for part in query.split("&") if part)}
    if "seed" in options:
        raise SchemaError("link", "its seed is not its own here", hint="leave it out: the scenario's seed counts")
    return options


def _rate_of(region: str, factor: int) -> int:
    rates = {
        rate.spreading_factor: index
        for index, rate in regions.get(region).uplink.items()
        if rate.bandwidth_hz == 125_000 and rate.spreading_factor is not None
    }
    if factor not in rates:
        legal = ", ".join(f"sf{one}" for one in sorted(rates))
        raise SchemaError("link", f"{region} has no SF{factor} at 125 kHz", hint=f"legal: {legal}")
    return rates[factor]
