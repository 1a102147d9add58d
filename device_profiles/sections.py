"""The sections of a profile file: what every figure means, and the range outside which it is taken for a mistake."""

from __future__ import annotations

from collections.abc import Mapping

from device_profiles.figures import Rule, rule
from device_profiles.kernels import CODES, STORES
from device_profiles.ops import MAC_KINDS, OpKind
from tamiyo_runtime.contracts.plan import Precision

_PER_MAC = Rule(
    meaning="CPU time a multiply-accumulate, one thread",
    units={"cycle/MAC": (0.005, 50.0), "ns/MAC": (1e-7, 1000.0)},
)
_PER_BYTE = Rule(
    meaning="CPU time a byte read or written, one thread",
    units={"cycle/B": (0.005, 500.0), "ns/B": (1e-4, 10_000.0)},
)


def _more(meaning: str, low: float) -> Rule:
    """A rate that need not be known."""
    return Rule(meaning=meaning, units={"cycle/B": (low, 500.0), "ns/B": (low, 10_000.0)}, needed=False)


_WORK = {str(kind): _PER_MAC if kind in MAC_KINDS else _PER_BYTE for kind in OpKind}
_COMPUTE = {
    "clock_mhz": rule("clock that cycles are counted at", "MHz", 8, 6000),
    "dispatch_us": rule("least time of one graph invocation, copies included", "us", 0.2, 10_000),
    "operator_us": rule("time an operator takes beside its work", "us", 0.01, 500),
    "io_bytes_per_us": rule("rate at which input and output reach the processor", "B/us", 1, 1e7, needed=False),
}
_KERNELS = {
    "depth": rule("channels that kernels sum at a time", "1", 1, 256, needed=False, whole=True),
    "width": rule("output channels that kernels compute at a time", "1", 1, 256, needed=False, whole=True),
    "window": rule("time to look up a position of a window, an output position", "ns", 0, 1e5, needed=False),
    **{key: _more(f"CPU time an output byte of {kind}", 0.0) for kind, key in STORES.items()},
    **{code.lower(): _more(f"CPU time a byte read or written by {code}", 1e-4) for code in CODES},
}
_MEMORY = {
    "total_bytes": rule("memory a model can live in", "B", 16e3, 1e13),
    "flash_bytes": rule("where weights lie and run from, when that is not memory", "B", 16e3, 1e12, needed=False),
    "sram_bytes": rule("where activations lie, when weights do not", "B", 2e3, 1e10, needed=False),
}
_ACCELERATOR = {
    "floor_us": rule("least time of one invocation, bus included", "us", 0.1, 1e6),
    "operator_us": rule("time an operator takes beside its work", "us", 0, 1e4, needed=False),
    "clock_mhz": rule("clock of the accelerator that its rates hold at", "MHz", 1, 6000, needed=False),
    "macs_per_us": rule("sustained MAC rate of convolutions", "MAC/us", 10, 1e9),
    "depthwise_macs_per_us": rule("the same of depthwise convolutions", "MAC/us", 1, 1e9, needed=False),
    "dense_macs_per_us": rule("the same of fully connected layers", "MAC/us", 1, 1e9, needed=False),
    "element_bytes_per_us": rule("rate of operators without MACs, read and written", "B/us", 1, 1e9, needed=False),
    "cache_bytes": rule("weights that stay on the accelerator", "B", 0, 1e11),
    "bus_bytes_per_us": rule("rate at which other weights are streamed in", "B/us", 0.1, 1e7),
    "io_bytes_per_us": rule("rate at which input and output are transferred", "B/us", 0.1, 1e7, needed=False),
    "overlap": rule("share of the shorter of computing and streaming that hides", "1", 0, 1, needed=False),
    "grid_positions": rule("output positions that the array takes at a time", "1", 1, 4096, needed=False, whole=True),
    "grid_depth": rule("products of a sum that the array takes at a time", "1", 1, 4096, needed=False, whole=True),
    "grid_channels": rule("output channels that the array takes at a time", "1", 1, 4096, needed=False, whole=True),
}
_SYSTOLIC = {
    "rows": rule("rows of an array, output positions", "1", 1, 4096, whole=True),
    "columns": rule("columns of an array, output channels", "1", 1, 4096, whole=True),
    "arrays": rule("arrays on the chip", "1", 1, 4096, needed=False, whole=True),
    "clock_mhz": rule("clock of the arrays", "MHz", 1, 6000),
    "floor_us": rule("least time of one invocation", "us", 0.1, 1e6),
    "operator_us": rule("time an operator takes beside its work", "us", 0, 1e4, needed=False),
    "float_cycles": rule("cycles in floating point over those in int8", "1", 0.5, 64, needed=False),
    "float_energy": rule("energy of a MAC in floating point over that in int8", "1", 0.5, 64, needed=False),
    "vector_bytes_per_us": rule("rate of operators without MACs, read and written", "B/us", 1, 1e9),
    "mac_pj": rule("energy of an int8 multiply-accumulate with its registers", "pJ", 0.005, 50),
    "sram_bytes": rule("on-chip buffer", "B", 1e3, 1e10),
    "sram_bytes_per_us": rule("rate of the on-chip buffer", "B/us", 1, 1e9),
    "sram_pj_per_byte": rule("energy of a byte of the on-chip buffer", "pJ/B", 0.01, 500),
    "dram_bytes_per_us": rule("rate of the memory off the chip", "B/us", 1, 1e8),
    "dram_pj_per_byte": rule("energy of a byte off the chip", "pJ/B", 1, 5000),
    "static_mw": rule("power drawn by leakage and control", "mW", 1e-3, 1e6),
}

SECTIONS: Mapping[str, Mapping[str, Rule]] = {
    "compute": _COMPUTE,
    **{f"work.{precision}": _WORK for precision in Precision},
    **{f"kernels.{precision}": _KERNELS for precision in Precision},
    "memory": _MEMORY,
    "power": {
        "active_mw": rule("power of the whole board while one core computes", "mW", 5, 2e6),
        "idle_mw": rule("power of the whole board while it waits", "mW", 1e-3, 1e6),
        "sleep_mw": rule("the same stopped, memory kept, until a clock wakes it", "mW", 1e-4, 1e5, needed=False),
    },
    "model": {"relative_error": rule("the truth lies within a factor of 1 + this in 90 % of cases", "1", 0.01, 4)},
    "simulation": {
        "jitter_sigma": rule("standard deviation of ln(latency / median)", "1", 0, 1),
        "jitter_max": rule("largest latency / median a simulated board draws", "1", 1, 100),
    },
    "accelerator": _ACCELERATOR,
    "systolic": _SYSTOLIC,
    "thermal": {
        "ambient_c": rule("air around the board", "C", -40, 85),
        "resistance_k_per_w": rule("rise of the processor over ambient", "K/W", 0.05, 200),
        "time_constant_s": rule("time to 63 % of a change", "s", 0.5, 36_000),
        "throttle_c": rule("temperature at which the clock is lowered", "C", 40, 125),
        "recover_c": rule("temperature at which the clock returns", "C", 30, 125),
        "throttled_slowdown": rule("latency multiplier while hot, where no points are known", "1", 1, 20),
        "step_s": rule("time between two changes of the clock", "s", 1e-3, 600, needed=False),
    },
    "budget": {
        "latency_ms": rule("deadline of one inference", "ms", 0.01, 60_000),
        "power_mw": rule("average power inferences may draw", "mW", 1e-3, 2e6),
        "energy_burst_uj": rule("energy that may be saved up", "uJ", 1, 1e10),
        "memory_bytes": rule("memory a bundle may take", "B", 1e3, 1e12),
        "airtime_s_per_hour": rule("time on air telemetry may use", "s/h", 0, 3600),
    },
}
OPTIONAL = frozenset(
    {"accelerator", "systolic", "thermal", "kernels", *(f"kernels.{precision}" for precision in Precision)}
)
