"""From a group of a scenario to what plans are made of: its link, and what its devices live on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from device_profiles.loader import load_profile
from simulators.cellular.presets import preset
from simulators.fleet.costs import inference_of, sleep_mw
from simulators.fleet.group import Group
from simulators.fleet.kinds import CellularKind
from simulators.fleet.placing import placed
from simulators.fleet.planning_cellular import Cellular
from simulators.fleet.planning_lora import LoRa
from simulators.fleet.planning_terms import SECONDS_A_DAY, Configuration, Device
from simulators.fleet.scenario import Scenario
from simulators.lorawan.streams import Floats
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError

_NEAREST_M = 10.0


def link_of(scenario: Scenario, number: int, *, fair_use: bool = False) -> LoRa | Cellular:
    """The network of a group; raises SchemaError for places it does not know, and for fair use that is not LoRa's."""
    group = scenario.devices[number]
    kind = group.kind
    if not isinstance(kind, CellularKind):
        return LoRa(scenario, number, fair_use=fair_use)
    if fair_use:
        raise SchemaError("fair_use", f"{group.link} has no airtime to be fair with", hint="it is for LoRa links")
    network = preset(kind.preset)

    def places(fleet: int) -> Floats:
        if group.placement is None:
            return np.full(group.count, kind.options.get("distance_m", network.site.distance_m))
        x, y = placed(scenario, number, seed=scenario.seed + fleet)
        return np.maximum(np.hypot(x, y), _NEAREST_M)

    try:
        return Cellular(
            network,
            payload_bytes=group.workload.payload_bytes,
            places=places,
            seed=scenario.seed,
            speed_m_s=kind.options.get("speed_m_s"),
        )
    except ValueError as exc:
        raise SchemaError(f"devices[{number}].placement", str(exc), hint="bring devices nearer to the antenna") from exc


def device_of(group: Group) -> Device:
    """What a device of a group lives on; raises what opening its bundle raises."""
    configurations, budget = _configurations(group)
    return Device(
        battery=group.battery,
        base_mw=sleep_mw(group),
        configurations=configurations,
        inference_every_s=group.workload.inference_period_s,
        budget=budget,
    )


def _configurations(group: Group) -> tuple[tuple[Configuration, ...], Budget]:
    """Those of the bundle, or the one that the group describes; and the limits that hold for them."""
    if group.network is not None:
        return _of_bundle(group, group.network)
    if group.macs is None and group.latency_ms is None:
        return (), group.budget
    period_s = group.workload.inference_period_s or SECONDS_A_DAY  # the cost is the same at every period
    found = inference_of(replace(group, workload=replace(group.workload, inference_period_s=period_s)))
    assert found is not None
    one = Configuration(id="as described", accuracy=None, latency_ms=found.latency_ms, energy_uj=found.energy_uj)
    return (one,), found.budget


def _of_bundle(group: Group, network: str) -> tuple[tuple[Configuration, ...], Budget]:
    from tamiyo_runtime.bundle import Bundle

    manifest = Bundle.open(Path(network)).manifest
    profile = load_profile(group.profile).id
    if manifest.profile.id != profile:
        raise SchemaError(
            "profile",
            f"{network} was compiled for '{manifest.profile.id}', its costs say nothing of '{profile}'",
            hint=f"'{manifest.profile.id}', or a bundle for a target with the profile {profile}",
        )
    found = tuple(
        Configuration(
            id=one.configuration,
            accuracy=one.accuracy,
            latency_ms=one.cost.latency_ms,
            energy_uj=one.cost.energy_uj,
        )
        for one in manifest.variants[0].runnables
    )
    return found, manifest.budget if group.budget == Budget() else group.budget
