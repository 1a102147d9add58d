"""What an export did, as data: shown by the command line, kept in the bundle as ``report.json``.

Durations are left out of what is kept, so that the same request and key give the same bundle to the last byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from exporters.ops.table import Placement
from exporters.vendors.compiler import VendorCost
from tamiyo_runtime.contracts.cost import Cost, Estimate
from tamiyo_runtime.contracts.document import canonical_json
from tamiyo_runtime.contracts.plan import Format, Layout, Precision

SCHEMA = "tamiyo.export-report/1"


class Status(StrEnum):
    """How a step ended."""

    OK = "ok"
    WARN = "warn"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One step. ``details`` holds what a reader may want line by line; ``seconds`` is None in a bundle."""

    number: int
    name: str
    status: Status
    message: str
    details: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnableReport:
    """A configuration of a variant, measured on the test set by running it. Accuracies are None without labels.

    ``agreement`` is the share of test samples with torch's answer, ``sqnr_db`` the power of torch's logits over that of
    the difference (None when there is none), ``difference`` the largest absolute one. ``on_front``: no other of the
    variant is as cheap and more accurate; ``chosen``: the one that runs under the budget while nothing slows the board.
    """

    configuration: str
    chain: tuple[str, ...]
    accuracy: float | None
    torch_accuracy: float | None
    agreement: float
    difference: float
    cost: Cost
    sqnr_db: float | None = None
    on_front: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationReport:
    """A subset of the seeds as estimated in the preferred variant before conversion; ``compiled``: the bundle runs it.

    ``on_front``: of accuracy in torch against estimated latency.
    """

    id: str
    torch_accuracy: float
    latency_ms: Estimate
    on_front: bool
    compiled: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """A compiled form; ``size_bytes`` of all its graphs."""

    id: str
    format: Format
    precision: Precision
    layout: Layout
    size_bytes: int
    runnables: tuple[RunnableReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """A part of the network by itself: its cost on the profile in the preferred variant's precision."""

    name: str
    kind: str
    blueprint: str | None
    params: int
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """An operator of a compiled graph: what it costs by itself, where it runs and what int8 does to its answer.

    ``module`` is the part of the network it came from. ``sqnr_db`` is the signal of the float graph's tensor over its
    difference from the int8 graph's, both fed alike; None in float and where there is no such tensor.
    """

    variant: str
    graph: str
    index: int
    operator: str
    macs: int
    weight_bytes: int
    live_bytes: int
    latency_ms: Estimate
    energy_uj: Estimate
    on_accelerator: bool
    reason: str | None = None
    module: str | None = None
    sqnr_db: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityReport:
    """What is lost when a part alone computes in int8, and whether it was left in float for that."""

    part: str
    accuracy: float
    accuracy_lost: float
    sqnr_db: float | None
    kept_float: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelReport:
    """An int8 configuration on other kernels than those it was measured on: largest differences, quantisation steps.

    ``worst_lsb`` of a logit, the chain run from end to end; None where the kernels do not take a graph, and ``problem``
    says why. ``operator_lsb``: of any one operator's answer, fed alike. ``flipped``: share of answers changed.
    """

    variant: str
    configuration: str
    kernels: str
    samples: int
    worst_lsb: int | None
    operator_lsb: int | None = None
    flipped: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorReport:
    """The vendor's compiler: the command, whether it ran, the operators it mapped, by kind, and its costs by graph."""

    program: str
    command: str
    ran: bool
    version: str | None = None
    mapped: Mapping[str, int] = field(default_factory=dict)
    unmapped: Mapping[str, int] = field(default_factory=dict)
    costs: Mapping[str, VendorCost] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """The whole export. ``bundle_bytes`` is None in the copy that the bundle holds.

    ``smoke``: made of a few samples to try the path, so that its accuracies say nothing. ``reference``: what answers
    and accuracies are compared with where fields say torch. ``notes``: what a reader of the figures must know.
    """

    schema: str
    name: str
    target: str
    profile: str
    profile_sha256: str
    classes: int
    test_samples: int
    accuracy_floor: float | None
    steps: tuple[StepReport, ...]
    parts: tuple[PartReport, ...]
    variants: tuple[VariantReport, ...]
    placement: tuple[Placement, ...] = ()
    vendor: VendorReport | None = None
    layers: tuple[LayerReport, ...] = ()
    sensitivity: tuple[SensitivityReport, ...] = ()
    kernels: tuple[KernelReport, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()  # slots whose seeds switch together
    configurations: tuple[ConfigurationReport, ...] = ()
    cost_checks: tuple[str, ...] = ()  # what the cost model was checked against on this profile, and its error
    smoke: bool = False
    reference: str = "torch"
    notes: tuple[str, ...] = ()
    bundle_bytes: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[StepReport, ...]:
        """Steps that ended with a warning."""
        return tuple(step for step in self.steps if step.status is Status.WARN)

    def stored(self) -> bytes:
        """The report as the bundle keeps it: without durations."""
        steps = tuple(replace(step, seconds=None) for step in self.steps)
        return canonical_json(replace(self, steps=steps, bundle_bytes=None))
