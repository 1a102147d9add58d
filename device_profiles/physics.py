"""Relations between the figures of one profile that no device breaks.

A range for each figure alone must hold microcontrollers and data centres, so a watt written as a milliwatt can pass for
another class of device. Its neighbours in the file tell: no device waits at more power than it computes at, none draws
less than a picojoule a MAC on a core, no class of operators takes a thousandth of another's time.
"""

from __future__ import annotations

from collections.abc import Mapping

from device_profiles.engines import work_us
from device_profiles.figures import Figure
from device_profiles.ops import MAC_KINDS, OpKind
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.plan import Precision

Figures = Mapping[str, Figure]

_ENERGY_PER_MAC_PJ = (2.0, 500_000.0)
"""From a server core with a dot-product unit down to a bare microcontroller: active power times conv2d int8 time."""
_BIG_MW, _LEAST_PJ_OF_BIG = 50_000.0, 0.2
"""A GPU gets below a picojoule, and only at a power that nobody writes by mistake for a board's."""
_MAC_RATIO, _BYTE_RATIO = (1 / 30, 400.0), (1 / 25, 400.0)
"""Time of a class of operators over that of conv2d, or of elementwise; a GPU's depthwise layers reach 130."""
_BOARD_MW, _LEAST_IDLE_SHARE = 1000.0, 1 / 200
"""What draws watts while it computes does not wait on milliwatts; a microcontroller does."""
_MOST_SLEEP = 200_000.0
"""Active power over that asleep: an STM32U5 reaches some 20,000."""
_MOST_OPERATOR_SHARE = 10.0
_ENGINE_RATIO = (1 / 1000, 3.0)
"""Rate of a class of operators on an accelerator over that of its convolutions."""


def check_physics(figures: Figures, path: str) -> None:
    """Raises SchemaError naming the figure that does not fit its neighbours."""
    if "accelerator.floor_us" in figures and "systolic.rows" in figures:
        raise SchemaError(path, "has both [accelerator] and [systolic]", hint="one of them computes; choose which")
    _check_power(figures, path)
    _check_memory(figures, path)
    _check_times(figures, path)
    _check_budget(figures, path)
    if "thermal.throttle_c" in figures:
        hot, cool = figures["thermal.throttle_c"].value, figures["thermal.recover_c"].value
        if not figures["thermal.ambient_c"].value < cool < hot:
            raise SchemaError(f"{path}: thermal.recover_c", "ambient_c < recover_c < throttle_c is false")


def _check_power(figures: Figures, path: str) -> None:
    active, idle = figures["power.active_mw"].value, figures["power.idle_mw"].value
    if idle > active:
        raise SchemaError(f"{path}: power.idle_mw", f"{idle:g} mW is above the active {active:g} mW")
    if "power.sleep_mw" in figures and not active / _MOST_SLEEP <= figures["power.sleep_mw"].value <= idle:
        raise SchemaError(
            f"{path}: power.sleep_mw",
            f"{figures['power.sleep_mw'].value:g} mW is not between a {_MOST_SLEEP:,.0f}th of active_mw and idle_mw",
            hint="is it in uW or W? it is what the board draws stopped, with its memory kept and a clock running",
        )
    if active > _BOARD_MW and idle < active * _LEAST_IDLE_SHARE:
        raise SchemaError(
            f"{path}: power.idle_mw",
            f"{idle:g} mW is less than a 200th of the active {active:g} mW",
            hint="is one of the two in W? idle is what the board draws while it waits for a sample, switched on",
        )
    picojoule = active * work_us(figures["work.int8.conv2d"], figures) * 1e3
    low, high = _ENERGY_PER_MAC_PJ
    low = _LEAST_PJ_OF_BIG if active > _BIG_MW else low
    if not low <= picojoule <= high:
        raise SchemaError(
            f"{path}: power.active_mw",
            f"with work.int8.conv2d it makes {picojoule:.3g} pJ a MAC, plausible is {low:g} to {high:g}",
            hint="is the power in W, or the time in cycles instead of ns?",
        )


def _check_memory(figures: Figures, path: str) -> None:
    parts = [figures[key].value for key in ("memory.flash_bytes", "memory.sram_bytes") if key in figures]
    total = figures["memory.total_bytes"].value
    if len(parts) == 2 and not max(parts) <= total <= 1.01 * sum(parts):
        raise SchemaError(
            f"{path}: memory.total_bytes",
            f"{total:g} B is not between the larger of flash_bytes and sram_bytes and their sum, {sum(parts):g} B",
        )


def _check_times(figures: Figures, path: str) -> None:
    for precision in Precision:
        for kind in OpKind:
            base, (low, high) = (OpKind.CONV2D, _MAC_RATIO) if kind in MAC_KINDS else (OpKind.ELEMENTWISE, _BYTE_RATIO)
            key, other = f"work.{precision}.{kind}", f"work.{precision}.{base}"
            ratio = work_us(figures[key], figures) / work_us(figures[other], figures)
            if not low <= ratio <= high:
                raise SchemaError(
                    f"{path}: {key}",
                    f"takes {ratio:.3g} times as long as {other}, plausible is {low:.2g} to {high:g} times",
                    hint="is one of the two in another unit?",
                )
    for section, floor in (("compute", "dispatch_us"), ("accelerator", "floor_us"), ("systolic", "floor_us")):
        operator, invocation = figures.get(f"{section}.operator_us"), figures.get(f"{section}.{floor}")
        if operator and invocation and operator.value > _MOST_OPERATOR_SHARE * invocation.value:
            raise SchemaError(
                f"{path}: {section}.operator_us",
                f"{operator.value:g} us an operator, and {invocation.value:g} us for a whole invocation",
                hint="is one of the two in another unit?",
            )
    for key in ("accelerator.depthwise_macs_per_us", "accelerator.dense_macs_per_us"):
        low, high = _ENGINE_RATIO
        if key in figures:
            ratio = figures[key].value / figures["accelerator.macs_per_us"].value
            if not low <= ratio <= high:
                raise SchemaError(
                    f"{path}: {key}", f"is {ratio:.3g} times macs_per_us, plausible is {low:g} to {high:g} times"
                )


def _check_budget(figures: Figures, path: str) -> None:
    """A default budget that nothing could keep, or that limits nothing, is in another unit."""
    active = figures["power.active_mw"].value
    floors = ("accelerator.floor_us", "systolic.floor_us", "compute.dispatch_us")
    floor_us = next(figures[key].value for key in floors if key in figures)
    bounds = (
        ("budget.latency_ms", floor_us * 1e-3, None, "the least time of an invocation"),
        ("budget.power_mw", None, active, "the power at which the device computes all the time"),
        ("budget.energy_burst_uj", floor_us * 1e-3 * active, None, "the least energy of an invocation"),  # ms * mW
        ("budget.memory_bytes", None, figures["memory.total_bytes"].value, "memory.total_bytes"),
    )
    for key, least, most, what in bounds:
        figure = figures[key]
        if (least is not None and figure.value < least) or (most is not None and figure.value > most):
            bound, word = (least, "below") if least is not None else (most, "above")
            raise SchemaError(
                f"{path}: {key}",
                f"{figure.value:g} {figure.unit} is {word} {what}, {bound:g} {figure.unit}",
                hint="is one of the two in another unit?",
            )
