"""What an inference costs a group: by its bundle's configurations, by the profile's cost model, or as the file says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_profiles.cost import estimate
from device_profiles.loader import load_profile
from device_profiles.ops import Op, OpKind
from device_profiles.profile import Profile
from simulators.fleet.complaints import at
from simulators.fleet.group import Group
from simulators.fleet.scenario import Scenario
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Estimate, Source
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.plan import Precision, Runnable


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """One inference of a group, and the limits it is held to. ``configuration``: of a bundle, with its accuracy."""

    latency_ms: Estimate
    energy_uj: Estimate
    budget: Budget
    configuration: str | None = None
    accuracy: float | None = None


def sleep_mw(group: Group) -> float:
    """Power of the board between inferences: the group's own, else the profile's asleep, else the profile's idle."""
    if group.sleep_mw is not None:
        return group.sleep_mw
    profile = load_profile(group.profile)
    return profile.value("power.sleep_mw" if "power.sleep_mw" in profile.figures else "power.idle_mw")


def inference_of(group: Group) -> Inference | None:
    """The cost of an inference; None where nothing is inferred.

    Of a bundle's configurations the most accurate one counts whose cost keeps the budget at the group's period (the
    cheapest where none does); its costs hold on the profile it was compiled for, so another one is refused. Raises
    SchemaError for that and for an inference longer than its period, and what opening the bundle raises.
    """
    period_s = group.workload.inference_period_s
    if period_s is None:
        return None
    if group.network is not None:
        cost = _of_bundle(group, group.network)
    elif group.macs is not None:
        cost = _of_model(group, load_profile(group.profile))
    else:
        assert group.latency_ms is not None
        assert group.energy_uj is not None
        cost = Inference(latency_ms=_said(group.latency_ms), energy_uj=_said(group.energy_uj), budget=group.budget)
    if cost.latency_ms.value > 1e3 * period_s:
        raise SchemaError(
            "workload.inference_period_s",
            f"an inference takes {cost.latency_ms.value:g} ms, and comes every {1e3 * period_s:g} ms",
            hint="infer less often, a smaller network, or on a faster board",
        )
    return cost


def costs_of(scenario: Scenario) -> list[Inference | None]:
    """What an inference costs each group; errors of `inference_of` with the group they are about."""
    costs = []
    for number, group in enumerate(scenario.devices):
        with at(f"devices[{number}]"):
            with at("profile"):
                load_profile(group.profile)
            costs.append(inference_of(group))
    return costs


def _of_model(group: Group, profile: Profile) -> Inference:
    """One convolution of that many MACs and weights, and nothing else: operators' own times are not in it."""
    op = Op(OpKind.CONV2D, group.macs or 0, group.params or 0, 0, 0)
    cost = estimate(profile, [[op]], precision=Precision.INT8)
    return Inference(latency_ms=cost.latency_ms, energy_uj=cost.energy_uj, budget=group.budget)


def _of_bundle(group: Group, network: str) -> Inference:
    from tamiyo_runtime.bundle import Bundle

    with at("network"):
        manifest = Bundle.open(Path(network)).manifest
    profile = load_profile(group.profile).id
    if manifest.profile.id != profile:
        raise SchemaError(
            "profile",
            f"{network} was compiled for '{manifest.profile.id}', its costs say nothing of '{profile}'",
            hint=f'profile = "{manifest.profile.id}", or export for a target with the profile {profile}',
        )
    budget = manifest.budget if group.budget == Budget() else group.budget
    period_s = group.workload.inference_period_s or 0.0
    runnables = manifest.variants[0].runnables
    fitting = [one for one in runnables if _keeps(one, budget, period_s)]
    chosen = max(fitting, key=lambda one: (one.accuracy or 0.0, -one.cost.latency_ms.value), default=runnables[0])
    return Inference(
        latency_ms=chosen.cost.latency_ms,
        energy_uj=chosen.cost.energy_uj,
        budget=budget,
        configuration=chosen.configuration,
        accuracy=chosen.accuracy,
    )


def _keeps(one: Runnable, budget: Budget, period_s: float) -> bool:
    return not over_latency(one.cost.latency_ms.value, budget) and not over_power(
        one.cost.energy_uj.value, budget, period_s
    )


def over_latency(latency_ms: float, budget: Budget) -> bool:
    """Whether an inference takes longer than its deadline."""
    return budget.latency_ms is not None and latency_ms > budget.latency_ms


def over_power(energy_uj: float, budget: Budget, period_s: float) -> bool:
    """Whether inferences one a period overdraw the token bucket: at once, or on average."""
    if budget.power_mw is None or budget.energy_burst_uj is None:
        return False
    return energy_uj > budget.energy_burst_uj or energy_uj > budget.power_mw * period_s * 1e3


def _said(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, source=Source.ANALYTIC)
