"""What a policy asks for, among what a device can run."""

from __future__ import annotations

from tamiyo_runtime.options import Option, Options


def option(gates: str, *, latency_ms: float, energy_uj: float, accuracy: float | None) -> Option:
    return Option(
        configuration=f"c{gates}",
        gates=tuple(gate == "1" for gate in gates),
        latency_worst_ms=latency_ms,
        energy_worst_uj=energy_uj,
        memory_bytes=1,
        accuracy=accuracy,
    )


def test_nobody_leaves_seeds_out_where_that_saves_nothing() -> None:
    options = Options(
        [
            option("00", latency_ms=1.66, energy_uj=8280, accuracy=0.57),
            option("01", latency_ms=1.66, energy_uj=8280, accuracy=0.89),
            option("11", latency_ms=1.661, energy_uj=8285, accuracy=0.98),
        ]
    )
    assert options.find((False, True)) == (2, True)
    assert options.find((False, False)) == (2, True)
    assert options.find((True, False)) == (2, False), "nor where what was asked for is not there"


def test_what_saves_time_or_energy_is_left_as_it_was_asked_for() -> None:
    options = Options(
        [
            option("00", latency_ms=1.0, energy_uj=100, accuracy=0.57),
            option("01", latency_ms=2.0, energy_uj=99, accuracy=0.89),
            option("10", latency_ms=2.0, energy_uj=150, accuracy=0.80),
        ]
    )
    assert options.find((False, False)) == (0, True)
    assert options.find((False, True)) == (1, True)
    assert options.find((True, False)) == (1, True), "no dearer, and more accurate"
    assert options.find((True, True)) == (1, False), "there is no such option: the best of its subsets"


def test_options_that_nobody_measured_are_left_alone() -> None:
    options = Options(
        [
            option("0", latency_ms=1.0, energy_uj=100, accuracy=None),
            option("1", latency_ms=1.0, energy_uj=100, accuracy=0.9),
        ]
    )
    assert options.find((False,)) == (0, True)
