"""What the ``[[validation]]`` blocks of the profiles claim, computed again from the published rows.

A check is keyed by the profile and the block's ``against`` and ``figure``, and answers one relative error a row,
estimated / published - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from device_profiles.cost import Op, OpKind, estimate
from device_profiles.loader import load_profile
from tamiyo_runtime.contracts.plan import Precision
from tests.unit.device_profiles import fit_cortex_m, x86_runs
from tests.unit.device_profiles.engine_checks import ENGINE_CHECKS
from tests.unit.device_profiles.published import A53_MHZ, CORAL_A53, MLPERF_TINY
from tests.unit.device_profiles.tiny_networks import NETWORKS, graph, rows

Check = Callable[[], list[float]]
Key = tuple[str, str, str]


def latency_ms(profile: str, ops: list[Op] | tuple[Op, ...]) -> float:
    """Estimate of one int8 graph."""
    return estimate(load_profile(profile), [ops], precision=Precision.INT8).latency_ms.value


def _pi4() -> list[float]:
    return [latency_ms("raspberry-pi-4", row.graph()) / row.pi4_ms - 1 for row in MLPERF_TINY.values()]


def _a53() -> list[float]:
    """The same core at another clock: cycles are what is compared."""
    clock = load_profile("raspberry-pi-3").value("compute.clock_mhz")
    errors = []
    for conv, depthwise, published_ms in CORAL_A53.values():
        ops = [Op(OpKind.CONV2D, conv, 0, 0, 0), Op(OpKind.DEPTHWISE_CONV2D, depthwise, 0, 0, 0)]
        errors.append(latency_ms("raspberry-pi-3", ops) * clock / A53_MHZ / published_ms - 1)
    return errors


def _held_out(profile: str, figure: str) -> list[float]:
    return [getattr(miss, figure) for miss in fit_cortex_m.held_out(profile).values()]


def _library(profile: str, version: str, system: str) -> list[float]:
    """Another library on the same board."""
    found = rows(version, system)
    return [latency_ms(profile, graph(name)) / found[name].latency_ms - 1 for name in NETWORKS]


_ST = "MLPerf Tiny v1.2, STMicroelectronics on this board, each network held out"
_UNSEEN = "MLPerf Tiny v1.2, STMicroelectronics on this board, a network that no board's rates were fitted to"
_BOSCH = "MLPerf Tiny v1.2, Bosch's library on this board"
_TFLM = "MLPerf Tiny v0.5, TFLite Micro's reference kernels on this board"

CHECKS: Mapping[Key, Check] = {
    **ENGINE_CHECKS,
    ("raspberry-pi-4", "MLPerf Tiny v0.5, four int8 networks with LEIP on a Pi 4", "latency"): _pi4,
    ("raspberry-pi-3", "coral.ai, TFLite on a Cortex-A53 at 1.5 GHz, eight image networks", "latency"): _a53,
    ("x86-64", x86_runs.AGAINST, "latency"): x86_runs.errors,
    ("cortex-m4", _ST, "latency"): lambda: _held_out("cortex-m4", "latency"),
    ("cortex-m4", _ST, "energy"): lambda: _held_out("cortex-m4", "energy"),
    ("cortex-m7", _ST, "latency"): lambda: _held_out("cortex-m7", "latency"),
    ("cortex-m7", _ST, "energy"): lambda: _held_out("cortex-m7", "energy"),
    ("cortex-m4", _UNSEEN, "latency"): lambda: [*fit_cortex_m.unseen("cortex-m4").values()],
    ("cortex-m7", _UNSEEN, "latency"): lambda: [*fit_cortex_m.unseen("cortex-m7").values()],
    ("cortex-m4", _BOSCH, "latency"): lambda: _library("cortex-m4", "v1.2", "bosch NUCLEO_L4R5ZI_int8"),
    ("cortex-m7", _BOSCH, "latency"): lambda: _library("cortex-m7", "v1.2", "bosch NUCLEO_H7A3ZI_int8"),
    ("cortex-m4", _TFLM, "latency"): lambda: _library("cortex-m4", "v0.5", "reference Nucleo-L4R5ZI"),
}
