"""From the figures of a profile to the tables that the cost model reads in its inner loop."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from device_profiles.accelerator import Accelerator
from device_profiles.figures import Figure
from device_profiles.kernels import CODES, STORES, Kernels
from device_profiles.ops import OpKind
from device_profiles.profile import Rates
from device_profiles.systolic import Energies, Systolic
from tamiyo_runtime.contracts.plan import Precision

_ITEM_BYTES: Mapping[Precision, int] = {Precision.INT8: 1, Precision.FLOAT32: 4}
Figures = Mapping[str, Figure]


def rates_of(figures: Figures, precision: Precision) -> Rates:
    """The tables for one precision. An accelerator is for int8; arrays are for float too where they say how fast."""
    io = figures.get("compute.io_bytes_per_us")
    return Rates(
        us_per_io_byte=1 / io.value if io is not None else 0.0,
        dispatch_us=figures["compute.dispatch_us"].value,
        operator_us=figures["compute.operator_us"].value,
        work_us={kind: work_us(figures[f"work.{precision}.{kind}"], figures) for kind in OpKind},
        accelerator=_accelerator(figures) if precision is Precision.INT8 else None,
        systolic=_systolic(figures, precision),
        kernels=_kernels(figures, precision),
    )


def work_us(figure: Figure, figures: Figures) -> float:
    """Microseconds for each unit of work, from cycles or nanoseconds."""
    if figure.unit.startswith("cycle/"):
        return figure.value / figures["compute.clock_mhz"].value
    return figure.value * 1e-3


def _kernels(figures: Figures, precision: Precision) -> Kernels | None:
    prefix = f"kernels.{precision}."
    known = {key.removeprefix(prefix): figure for key, figure in figures.items() if key.startswith(prefix)}
    if not known:
        return None
    return Kernels(
        depth=int(known["depth"].value) if "depth" in known else 1,
        width=int(known["width"].value) if "width" in known else 1,
        window_us=known["window"].value * 1e-3 if "window" in known else 0.0,
        output_us={kind: work_us(known[key], figures) for kind, key in STORES.items() if key in known},
        code_us={code: work_us(known[code.lower()], figures) for code in CODES if code.lower() in known},
    )


def _accelerator(figures: Figures) -> Accelerator | None:
    if "accelerator.floor_us" not in figures:
        return None
    values = {key: figure.value for key, figure in figures.items()}
    rate = values["accelerator.macs_per_us"]
    element, io = values.get("accelerator.element_bytes_per_us"), values.get("accelerator.io_bytes_per_us")
    return Accelerator(
        floor_us=values["accelerator.floor_us"],
        operator_us=values.get("accelerator.operator_us", 0.0),
        us_per_mac={
            OpKind.CONV2D: 1 / rate,
            OpKind.DEPTHWISE_CONV2D: 1 / values.get("accelerator.depthwise_macs_per_us", rate),
            OpKind.FULLY_CONNECTED: 1 / values.get("accelerator.dense_macs_per_us", rate),
        },
        us_per_element_byte=1 / element if element else 0.0,
        cache_bytes=values["accelerator.cache_bytes"],
        us_per_byte=1 / values["accelerator.bus_bytes_per_us"],
        us_per_io_byte=1 / io if io else 0.0,
        overlap=values.get("accelerator.overlap", 0.0),
        grid=(
            int(values.get("accelerator.grid_positions", 1)),
            int(values.get("accelerator.grid_depth", 1)),
            int(values.get("accelerator.grid_channels", 1)),
        ),
    )


def _systolic(figures: Figures, precision: Precision) -> Systolic | None:
    if "systolic.rows" not in figures:
        return None
    values = {key.removeprefix("systolic."): item.value for key, item in figures.items() if key.startswith("systolic.")}
    real = precision is Precision.FLOAT32
    if real and "float_cycles" not in values:
        return None
    return Systolic(
        rows=int(values["rows"]),
        columns=int(values["columns"]),
        arrays=int(values.get("arrays", 1)),
        cycle_us=1 / values["clock_mhz"],
        cycle_factor=values["float_cycles"] if real else 1.0,
        mac_factor=values.get("float_energy", 1.0) if real else 1.0,
        floor_us=values["floor_us"],
        operator_us=values.get("operator_us", 0.0),
        sram_bytes=values["sram_bytes"],
        us_per_sram_byte=1 / values["sram_bytes_per_us"],
        us_per_dram_byte=1 / values["dram_bytes_per_us"],
        us_per_vector_byte=1 / values["vector_bytes_per_us"],
        item_bytes=_ITEM_BYTES[precision],
        energy=_energies(figures, operator.attrgetter("value")),
        low=_energies(figures, operator.attrgetter("low")),
        high=_energies(figures, operator.attrgetter("high")),
    )


def _energies(figures: Figures, end: Callable[[Figure], float]) -> Energies:
    return Energies(
        mac_pj=end(figures["systolic.mac_pj"]),
        sram_pj_per_byte=end(figures["systolic.sram_pj_per_byte"]),
        dram_pj_per_byte=end(figures["systolic.dram_pj_per_byte"]),
        static_mw=end(figures["systolic.static_mw"]),
    )
