"""A device profile: figures by dotted name, the tables the cost model reads, and the snapshot a bundle carries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from device_profiles.accelerator import Accelerator
from device_profiles.figures import Basis, Figure
from device_profiles.kernels import Kernels
from device_profiles.ops import OpKind
from device_profiles.points import OperatingPoint
from device_profiles.systolic import Systolic
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.profile import ProfileSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHints:
    """How networks are compiled for the device, by names that the exporters know.

    ``variants``: compiled forms, the preferred one first (``tflite-int8``). ``layout``: ``segments``, ``whole`` or
    ``auto``. ``operator_table`` and ``compiler``: those of an accelerator; ``options`` go to the compiler.
    """

    variants: tuple[str, ...]
    layout: str = "auto"
    operator_table: str | None = None
    compiler: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the cost model was checked against on this device, and how far off it was.

    Errors are shares of the published or measured figure. ``held_out``: the rows were not used to fit the profile.
    """

    against: str
    figure: str  # latency or energy
    rows: int
    mean_error: float
    worst_error: float
    held_out: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the cost model's inner loop reads for one precision: us for each MAC, or each byte read or written.

    ``accelerator`` and ``systolic`` are None where there is none, or none that computes in this precision; ``kernels``
    where nothing but the time a MAC and a byte is known. ``us_per_io_byte`` is that of a graph's input and output on
    their way to a processor with a memory of its own.
    """

    dispatch_us: float
    operator_us: float
    work_us: Mapping[OpKind, float]
    accelerator: Accelerator | None
    systolic: Systolic | None = None
    us_per_io_byte: float = 0.0
    kernels: Kernels | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of a device. ``figures`` maps dotted names (``power.active_mw``); ``sha256`` is of the file.

    ``points``: clocks it can run at, the slowest first; none where nothing is known but the rated one.
    """

    id: str
    revision: int
    title: str
    notes: str
    sha256: str
    figures: Mapping[str, Figure]
    rates: Mapping[Precision, Rates]
    export: ExportHints
    validation: tuple[Validation, ...] = ()
    points: tuple[OperatingPoint, ...] = ()

    def value(self, name: str) -> float:
        """Value of a figure that every profile has; raises SchemaError when this one does not have it."""
        if name not in self.figures:
            raise SchemaError(self.id, f"has no figure '{name}'", hint=f"figures: {', '.join(sorted(self.figures))}")
        return self.figures[name].value

    @property
    def source(self) -> Source:
        """What its estimates are: calibrated when their error was found on runs of the device itself, else analytic."""
        basis = self.figures["model.relative_error"].citation.basis
        return Source.CALIBRATED if basis is Basis.CALIBRATED else Source.ANALYTIC

    @property
    def energy_source(self) -> Source:
        """The same of energies, which are times by a power: a guessed power makes no calibrated energy."""
        known = self.figures["power.active_mw"].citation.basis is Basis.CALIBRATED
        return self.source if known else Source.ANALYTIC

    def budget(self) -> Budget:
        """The default budget: what a network of 100 to 400 kMAC should be held to on this device."""
        return Budget(
            latency_ms=self.value("budget.latency_ms"),
            power_mw=self.value("budget.power_mw"),
            energy_burst_uj=self.value("budget.energy_burst_uj"),
            memory_bytes=int(self.value("budget.memory_bytes")),
            airtime_s_per_hour=self.value("budget.airtime_s_per_hour"),
        )

    def snapshot(self) -> ProfileSnapshot:
        """What a bundle carries. ``extra`` holds what a simulated board needs beyond the runtime's fields."""
        active_mw = self.value("power.active_mw")
        return ProfileSnapshot(
            id=self.id,
            revision=self.revision,
            sha256=self.sha256,
            active_mw=active_mw,
            idle_mw=self.value("power.idle_mw"),
            memory_bytes=int(self.value("memory.total_bytes")),
            relative_error=self.value("model.relative_error"),
            budget=self.budget(),
            features={
                "profile_log10_macs_per_ms": math.log10(1e3 / self._us_per_mac()),
                "profile_log10_dispatch_us": math.log10(self._dispatch_us()),
                "profile_log10_active_mw": math.log10(active_mw),
            },
            extra={
                "title": self.title,
                "simulation": self._section("simulation"),
                "thermal": self._section("thermal"),
                **({"points": [asdict(point) for point in self.points]} if self.points else {}),
            },
        )

    def _us_per_mac(self) -> float:
        """Rated speed: int8 convolution, on the accelerator where there is one."""
        rates = self.rates[Precision.INT8]
        if rates.systolic is not None:
            return rates.systolic.us_per_mac
        return rates.accelerator.us_per_mac[OpKind.CONV2D] if rates.accelerator else rates.work_us[OpKind.CONV2D]

    def _dispatch_us(self) -> float:
        rates = self.rates[Precision.INT8]
        engine = rates.systolic or rates.accelerator
        return engine.floor_us if engine else rates.dispatch_us

    def _section(self, name: str) -> dict[str, float]:
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): figure.value for key, figure in self.figures.items() if key.startswith(prefix)
        }
