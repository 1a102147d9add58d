"""A scenario worked out: a field for each LoRaWAN region in it, and its cellular groups."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.fleet.kinds import LoraKind
from simulators.fleet.lora import LoraField, lora_field
from simulators.fleet.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """``lora``: fields by region, in the order in which the scenario names them. ``cellular``: numbers of groups."""

    scenario: Scenario
    lora: tuple[LoraField, ...]
    cellular: tuple[int, ...]

    def field_of(self, group: int) -> LoraField | None:
        """The field of a group; None on a cellular link."""
        return next((one for one in self.lora if bool((one.group == group).any())), None)


def resolve(scenario: Scenario) -> Resolved:
    """Works a scenario out; raises SchemaError for a file of positions that cannot be used."""
    kinds = [group.kind for group in scenario.devices]
    names = dict.fromkeys(kind.region for kind in kinds if isinstance(kind, LoraKind))
    return Resolved(
        scenario=scenario,
        lora=tuple(lora_field(scenario, name) for name in names),
        cellular=tuple(number for number, kind in enumerate(kinds) if not isinstance(kind, LoraKind)),
    )
