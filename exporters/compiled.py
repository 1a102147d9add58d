"""Compiled forms of a network, between the steps that make them and the bundle that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from device_profiles.cost import Op, estimate
from device_profiles.profile import Profile
from exporters.backends.flatbuffer import read_model
from exporters.ops.counting import count
from exporters.targets import VariantRecipe
from exporters.vendors.compiler import VendorCost
from exporters.vendors.cost import vendor_cost
from tamiyo_runtime.contracts.cost import Cost, Estimate, Source
from tamiyo_runtime.contracts.plan import Format, Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A graph: its file's contents, the contract's description of it, and its operators for the cost model.

    ``vendor`` is what the vendor's compiler says it takes on the accelerator; None where none was asked.
    """

    graph: Graph
    data: bytes
    ops: tuple[Op, ...]
    vendor: VendorCost | None = None

    @classmethod
    def of_tflite(cls, data: bytes, *, file: str) -> Artefact:
        """A TFLite file, described by what is in it."""
        model = read_model(data)
        return cls(graph=model.graph(file), data=data, ops=count(model.operators))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One variant: graphs by name, the chain of each configuration, and the operators each chain invokes."""

    recipe: VariantRecipe
    artefacts: Mapping[str, Artefact]
    chains: Mapping[str, tuple[str, ...]]
    work: Mapping[str, tuple[tuple[Op, ...], ...]]

    @classmethod
    def of_chains(
        cls, recipe: VariantRecipe, artefacts: Mapping[str, Artefact], chains: Mapping[str, tuple[str, ...]]
    ) -> Compiled:
        """A variant whose chains cost what their graphs cost."""
        work = {name: tuple(artefacts[graph].ops for graph in chain) for name, chain in chains.items()}
        return cls(recipe=recipe, artefacts=artefacts, chains=chains, work=work)

    def cost(self, profile: Profile, configuration: str) -> Cost:
        """Cost of one inference of a configuration: by the vendor's figures where every graph of it has them."""
        return self._cost(profile, self.chains[configuration], self.work[configuration])

    def graph_cost(self, profile: Profile, graph: str) -> Cost:
        """Cost of one invocation of a graph by itself."""
        return self._cost(profile, (graph,), (self.artefacts[graph].ops,))

    def _cost(self, profile: Profile, chain: tuple[str, ...], work: tuple[tuple[Op, ...], ...]) -> Cost:
        timed = [item for name in chain if (item := self.artefacts[name].vendor) is not None]
        if len(timed) == len(chain):
            return vendor_cost(profile, work, timed, precision=self.recipe.precision)
        cost = estimate(profile, work, precision=self.recipe.precision)
        return replace(cost, latency_ms=self.sourced(cost.latency_ms))

    def sourced(self, latency: Estimate) -> Estimate:
        """An estimate of the profile under the name it deserves: profiles are calibrated with LiteRT, no other."""
        other = self.recipe.format is not Format.TFLITE and latency.source is Source.CALIBRATED
        return replace(latency, source=Source.ANALYTIC) if other else latency

    @property
    def size_bytes(self) -> int:
        """Bytes of all graphs."""
        return sum(len(artefact.data) for artefact in self.artefacts.values())


def graph_file(recipe: VariantRecipe, graph: str) -> str:
    """Path of a graph inside the bundle."""
    return f"graphs/{recipe.id}/{graph}.{recipe.format.value}"
