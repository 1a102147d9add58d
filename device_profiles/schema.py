"""The profile file format, ``tamiyo.profile/1``, and its strict reader.

    schema, id, revision, title, notes      what it is
    [sources.NAME]   basis, text            cited by figures
    [compute] [work.int8] [work.float32] [memory] [power] [model] [simulation] [budget]
    [accelerator] [thermal]                 where the device has one, where it is known
        key = { value = 3000, low = 2700, high = 4000, unit = "mW", source = "NAME" }
    [export]         variants, layout, operator_table, compiler, options    how networks are compiled for it
    [[validation]]   against, figure, rows, mean_error, worst_error, held_out, note    how far off the model was found

Every key is known here or refused with the nearest legal name, every figure has a unit, an interval and a source, and
what is physically implausible is refused: it is nearly always a wrong unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from device_profiles.figures import Basis, Citation, Figure, Rule, check_keys, read_figure, require_key, rule, text
from device_profiles.ops import MAC_KINDS, OpKind
from device_profiles.profile import Accelerator, Profile, Rates
from device_profiles.recipe import read_export, read_validation
from tamiyo_runtime.contracts.document import check_schema
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.plan import Precision

SCHEMA = "tamiyo.profile/1"
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_PER_MAC = Rule(
    meaning="CPU time a multiply-accumulate, one thread",
    units={"cycle/MAC": (0.005, 50.0), "ns/MAC": (0.001, 1000.0)},
)
_PER_BYTE = Rule(
    meaning="CPU time a byte read or written, one thread",
    units={"cycle/B": (0.005, 500.0), "ns/B": (0.001, 10_000.0)},
)
_WORK = {str(kind): _PER_MAC if kind in MAC_KINDS else _PER_BYTE for kind in OpKind}

SECTIONS: Mapping[str, Mapping[str, Rule]] = {
    "compute": {
        "clock_mhz": rule("clock that cycles are counted at", "MHz", 8, 6000),
        "dispatch_us": rule("least time of one graph invocation, copies included", "us", 0.2, 10_000),
        "operator_us": rule("time an operator takes beside its work", "us", 0.01, 500),
    },
    **{f"work.{precision}": _WORK for precision in Precision},
    "memory": {"total_bytes": rule("memory a model can live in", "B", 16e3, 1e12)},
    "power": {
        "active_mw": rule("power of the whole board while one core computes", "mW", 5, 500_000),
        "idle_mw": rule("power of the whole board while it waits", "mW", 1e-3, 300_000),
    },
    "model": {"relative_error": rule("half-width of the cost model's 90 % interval", "1", 0.01, 0.95)},
    "simulation": {
        "jitter_sigma": rule("standard deviation of ln(latency / median)", "1", 0, 1),
        "jitter_max": rule("largest latency / median a simulated board draws", "1", 1, 100),
    },
    "accelerator": {
        "floor_us": rule("least time of one invocation, bus included", "us", 1, 1e6),
        "macs_per_us": rule("sustained MAC rate", "MAC/us", 10, 1e9),
        "cache_bytes": rule("weights that stay on the accelerator", "B", 1e3, 1e11),
        "bus_bytes_per_us": rule("rate at which other weights are streamed in", "B/us", 0.1, 1e6),
    },
    "thermal": {
        "ambient_c": rule("air around the board", "C", -40, 85),
        "resistance_k_per_w": rule("rise of the processor over ambient", "K/W", 0.05, 200),
        "time_constant_s": rule("time to 63 % of a change", "s", 0.5, 36_000),
        "throttle_c": rule("temperature at which the clock is lowered", "C", 40, 125),
        "recover_c": rule("temperature at which the clock returns", "C", 30, 125),
        "throttled_slowdown": rule("latency multiplier while hot", "1", 1, 20),
    },
    "budget": {
        "latency_ms": rule("deadline of one inference", "ms", 0.01, 60_000),
        "power_mw": rule("average power inferences may draw", "mW", 1e-3, 500_000),
        "energy_burst_uj": rule("energy that may be saved up", "uJ", 1, 1e10),
        "memory_bytes": rule("memory a bundle may take", "B", 1e3, 1e12),
        "airtime_s_per_hour": rule("time on air telemetry may use", "s/h", 0, 3600),
    },
}
OPTIONAL = frozenset({"accelerator", "thermal"})
_TEXTS = ("schema", "id", "title", "notes")
_ENERGY_PER_MAC_PJ = (2.0, 500_000.0)
"""From a server core with a dot-product unit down to a bare microcontroller: active power times conv2d int8 time."""


def parse_profile(document: Mapping[str, Any], *, sha256: str, path: str) -> Profile:
    """A parsed TOML document as a profile; ``path`` names the file in errors. Raises SchemaError."""
    check_schema(text(document, "schema", path=path), SCHEMA, path=f"{path}: schema")
    tops = {section.partition(".")[0] for section in SECTIONS}
    check_keys(document, {*_TEXTS, "revision", "sources", "export", "validation", *tops}, path=path)
    identity = text(document, "id", path=path)
    if not _ID.fullmatch(identity):
        raise SchemaError(f"{path}: id", f"'{identity}' is not lower-case words joined by '-'")
    revision = require_key(document, "revision", path=path)
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 1:
        raise SchemaError(f"{path}: revision", f"must be an integer from 1, got {revision!r}")
    figures = _figures(document, _citations(document, path), path)
    _check_physics(figures, path)
    return Profile(
        id=identity,
        revision=revision,
        title=text(document, "title", path=path),
        notes=text(document, "notes", path=path),
        sha256=sha256,
        figures=figures,
        rates={precision: _rates(figures, precision) for precision in Precision},
        export=read_export(require_key(document, "export", path=path), path=f"{path}: export"),
        validation=read_validation(document.get("validation", []), path=f"{path}: validation"),
    )


def _citations(document: Mapping[str, Any], path: str) -> dict[str, Citation]:
    result = {}
    for name, data in _table(document, "sources", path).items():
        where = f"{path}: sources.{name}"
        if not isinstance(data, Mapping):
            raise SchemaError(where, "must be a table with basis and text")
        check_keys(data, ("basis", "text"), path=where)
        basis = text(data, "basis", path=where)
        if basis not in list(Basis):
            raise SchemaError(f"{where}.basis", f"'{basis}' is not one of {', '.join(Basis)}")
        result[name] = Citation(basis=Basis(basis), text=text(data, "text", path=where))
    return result


def _figures(document: Mapping[str, Any], citations: Mapping[str, Citation], path: str) -> dict[str, Figure]:
    result = {}
    check_keys(_table(document, "work", path), tuple(Precision), path=f"{path}: work")
    for section, rules in SECTIONS.items():
        parent, _, child = section.rpartition(".")
        holder = _table(document, parent, path) if parent else document
        if (child not in holder) and section in OPTIONAL:
            continue
        table = _table(holder, child, path, shown=section)
        check_keys(table, rules, path=f"{path}: {section}")
        for key, figure_rule in rules.items():
            data = require_key(table, key, path=f"{path}: {section}")
            where = f"{path}: {section}.{key}"
            result[f"{section}.{key}"] = read_figure(data, figure_rule, citations, path=where)
    return result


def _table(document: Mapping[str, Any], name: str, path: str, *, shown: str | None = None) -> Mapping[str, Any]:
    data = require_key(document, name, path=path if shown in (None, name) else f"{path}: {shown}")
    if not isinstance(data, Mapping):
        raise SchemaError(f"{path}: {shown or name}", f"must be a table, got {data!r}")
    return data


def _check_physics(figures: Mapping[str, Figure], path: str) -> None:
    """Relations between figures that no device breaks."""
    active, idle = figures["power.active_mw"].value, figures["power.idle_mw"].value
    if idle > active:
        raise SchemaError(f"{path}: power.idle_mw", f"{idle:g} mW is above the active {active:g} mW")
    picojoule = active * _us(figures["work.int8.conv2d"], figures) * 1e3
    low, high = _ENERGY_PER_MAC_PJ
    if not low <= picojoule <= high:
        raise SchemaError(
            f"{path}: power.active_mw",
            f"with work.int8.conv2d it makes {picojoule:.3g} pJ a MAC, plausible is {low:g} to {high:g}",
            hint="is the power in W, or the time in cycles instead of ns?",
        )
    if "thermal.throttle_c" in figures:
        hot, cool = figures["thermal.throttle_c"].value, figures["thermal.recover_c"].value
        if not figures["thermal.ambient_c"].value < cool < hot:
            raise SchemaError(f"{path}: thermal.recover_c", "ambient_c < recover_c < throttle_c is false")


def _rates(figures: Mapping[str, Figure], precision: Precision) -> Rates:
    return Rates(
        dispatch_us=figures["compute.dispatch_us"].value,
        operator_us=figures["compute.operator_us"].value,
        work_us={kind: _us(figures[f"work.{precision}.{kind}"], figures) for kind in OpKind},
        accelerator=_accelerator(figures) if precision is Precision.INT8 else None,
    )


def _accelerator(figures: Mapping[str, Figure]) -> Accelerator | None:
    if "accelerator.floor_us" not in figures:
        return None
    return Accelerator(
        floor_us=figures["accelerator.floor_us"].value,
        us_per_mac=1 / figures["accelerator.macs_per_us"].value,
        cache_bytes=figures["accelerator.cache_bytes"].value,
        us_per_byte=1 / figures["accelerator.bus_bytes_per_us"].value,
    )


def _us(figure: Figure, figures: Mapping[str, Figure]) -> float:
    """Microseconds for each unit of work, from cycles or nanoseconds."""
    if figure.unit.startswith("cycle/"):
        return figure.value / figures["compute.clock_mhz"].value
    return figure.value * 1e-3
