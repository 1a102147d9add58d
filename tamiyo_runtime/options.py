"""What the governor can choose from: the configurations of a variant, with their worst cases and their order.

Built once when a bundle is loaded, so that a decision is a few comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tamiyo_runtime.contracts.plan import Configuration, Runnable

Gates = tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One configuration as the governor sees it. Latency and energy are the upper ends of the estimates' intervals."""

    configuration: str
    gates: Gates
    latency_high_ms: float
    energy_high_uj: float
    memory_bytes: int
    accuracy: float | None

    @classmethod
    def of(cls, runnable: Runnable, gates: Gates) -> Option:
        """From a runnable of the manifest."""
        return cls(
            configuration=runnable.configuration,
            gates=gates,
            latency_high_ms=runnable.cost.latency_ms.high,
            energy_high_uj=runnable.cost.energy_uj.high,
            memory_bytes=runnable.cost.peak_memory_bytes,
            accuracy=runnable.accuracy,
        )


class Options:
    """Options, cheapest first, and what follows from them: who is a subset of whom, and which one is best."""

    def __init__(self, items: Sequence[Option]) -> None:
        self.items = tuple(items)
        self.best_first = tuple(sorted(range(len(self.items)), key=self._worth, reverse=True))
        self.fallbacks = tuple(self._fallbacks(index) for index in range(len(self.items)))
        self._by_gates = {option.gates: index for index, option in enumerate(self.items)}
        self._nearest: dict[Gates, int] = {}

    @classmethod
    def of(cls, runnables: Sequence[Runnable], configurations: Sequence[Configuration]) -> Options:
        """Options of a variant."""
        gates = {configuration.id: configuration.gates for configuration in configurations}
        return cls([Option.of(runnable, gates[runnable.configuration]) for runnable in runnables])

    def __len__(self) -> int:
        return len(self.items)

    def find(self, gates: Gates) -> tuple[int, bool]:
        """The option with these gates, True; or the best one that switches on none but these seeds, False."""
        exact = self._by_gates.get(gates)
        if exact is not None:
            return exact, True
        if gates not in self._nearest:
            subsets = [index for index in self.best_first if is_subset(self.items[index].gates, gates)]
            self._nearest[gates] = subsets[0] if subsets else 0
        return self._nearest[gates], False

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


def is_subset(gates: Gates, of: Gates) -> bool:
    """Whether every seed that ``gates`` switches on is on in ``of`` as well."""
    return all(not gate or allowed for gate, allowed in zip(gates, of, strict=True))
