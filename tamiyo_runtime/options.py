"""What the governor can choose from: the configurations of a variant, with their worst cases and their order.

Built once when a bundle is loaded, so that a decision is a few comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tamiyo_runtime.contracts.cost import Estimate
from tamiyo_runtime.contracts.plan import Configuration, Runnable
from tamiyo_runtime.contracts.profile import ProfileSnapshot

Gates = tuple[bool, ...]

Z_999 = 3.0902
"""The 99.9th percentile of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One configuration as the governor sees it, at the board's rated speed.

    ``latency_worst_ms`` and ``energy_worst_uj``: the upper end of the estimate's interval times the profile's p99.9
    over its p50. ``settled_c``: the processor's temperature in the long run, infinite where the profile cannot tell.
    """

    configuration: str
    gates: Gates
    latency_worst_ms: float
    energy_worst_uj: float
    memory_bytes: int
    accuracy: float | None
    settled_c: float = math.inf


def tail(profile: ProfileSnapshot) -> float:
    """p99.9 over p50 of a latency on that device: of the log-normal spread that its profile states, cut off as there.

    1 where the profile states none.
    """
    spread: Mapping[str, float] = profile.extra.get("simulation") or {}
    return min(math.exp(Z_999 * spread.get("jitter_sigma", 0.0)), spread.get("jitter_max", math.inf))


def throttle_c(profile: ProfileSnapshot) -> float:
    """Where the device lowers its clock; infinite where the profile does not say."""
    heat: Mapping[str, float] = profile.extra.get("thermal") or {}
    return heat.get("throttle_c", math.inf)


def settled_c(profile: ProfileSnapshot, latency_ms: float, period_ms: float) -> float:
    """Temperature in the long run with one inference each ``period_ms``, 0 for back to back.

    By the profile's own figures: ambient + thermal resistance x mean power, as first-order heating has it.
    """
    heat: Mapping[str, float] = profile.extra.get("thermal") or {}
    if not heat:
        return math.inf
    busy = min(1.0, latency_ms / period_ms) if period_ms > 0 else 1.0
    power_mw = profile.idle_mw + busy * (profile.active_mw - profile.idle_mw)
    return heat["ambient_c"] + heat["resistance_k_per_w"] * power_mw * 1e-3


_ALIKE = 1.01
"""Costs that differ by less are alike: an estimate's own error is far larger."""


class Options:
    """Options, cheapest first, and what follows from them: who is a subset of whom, and which one is best.

    ``floor``: the share of their worst cases that is left when their estimates are taken at their word.
    """

    def __init__(self, items: Sequence[Option], *, floor: float = 1.0) -> None:
        self.items, self.floor = tuple(items), floor
        self.best_first = tuple(sorted(range(len(self.items)), key=self._worth, reverse=True))
        self.fallbacks = tuple(self._fallbacks(index) for index in range(len(self.items)))
        self._by_gates = {option.gates: index for index, option in enumerate(self.items)}
        self._no_dearer = tuple(self._better(index) for index in range(len(self.items)))
        self._nearest: dict[Gates, int] = {}

    @classmethod
    def of(
        cls,
        runnables: Sequence[Runnable],
        configurations: Sequence[Configuration],
        profile: ProfileSnapshot,
        *,
        period_s: float = 0.0,
    ) -> Options:
        """Options of a variant on a device, with one sample each ``period_s``."""
        gates = {configuration.id: configuration.gates for configuration in configurations}
        factor = tail(profile)
        return cls(
            [
                Option(
                    configuration=runnable.configuration,
                    gates=gates[runnable.configuration],
                    latency_worst_ms=runnable.cost.latency_ms.high * factor,
                    energy_worst_uj=runnable.cost.energy_uj.high * factor,
                    memory_bytes=runnable.cost.peak_memory_bytes,
                    accuracy=runnable.accuracy,
                    settled_c=settled_c(profile, runnable.cost.latency_ms.value, period_s * 1e3),
                )
                for runnable in runnables
            ],
            floor=max(_certainty(runnable.cost.latency_ms) for runnable in runnables),
        )

    def __len__(self) -> int:
        return len(self.items)

    def find(self, gates: Gates) -> tuple[int, bool]:
        """The option with these gates, True; or the best one that switches on none but these seeds, False.

        Where another one is more accurate and takes no more time and energy, that one: on an accelerator whose
        invocations cost alike there is nothing to save by leaving seeds out.
        """
        exact = self._by_gates.get(gates)
        if exact is not None:
            return self._no_dearer[exact], True
        if gates not in self._nearest:
            subsets = [index for index in self.best_first if is_subset(self.items[index].gates, gates)]
            self._nearest[gates] = self._no_dearer[subsets[0] if subsets else 0]
        return self._nearest[gates], False

    def _better(self, index: int) -> int:
        """The most accurate option that is no dearer than ``index``, itself where none is more accurate."""
        own = self.items[index]
        if own.accuracy is None:
            return index
        no_dearer = [
            other
            for other, option in enumerate(self.items)
            if option.accuracy is not None
            and option.accuracy > own.accuracy
            and option.latency_worst_ms <= own.latency_worst_ms * _ALIKE
            and option.energy_worst_uj <= own.energy_worst_uj * _ALIKE
        ]
        return max(no_dearer, key=self._worth, default=index)

    def _fallbacks(self, index: int) -> tuple[int, ...]:
        """Whom to try when ``index`` cannot run: its subsets, best first, then the others, best first."""
        gates = self.items[index].gates
        others = [other for other in self.best_first if other != index]
        subsets = [other for other in others if is_subset(self.items[other].gates, gates)]
        return (*subsets, *(other for other in others if other not in subsets))

    def _worth(self, index: int) -> tuple[float, int]:
        """Accuracy, the cheaper first among equals; unmeasured ones last, more seeds first."""
        option = self.items[index]
        if option.accuracy is None:
            return float(sum(option.gates)) - len(option.gates) - 1.0, -index
        return option.accuracy, -index


def _certainty(latency_ms: Estimate) -> float:
    return latency_ms.value / latency_ms.high if latency_ms.high > 0 else 1.0


def is_subset(gates: Gates, of: Gates) -> bool:
    """Whether every seed that ``gates`` switches on is on in ``of`` as well."""
    return all(not gate or allowed for gate, allowed in zip(gates, of, strict=True))
