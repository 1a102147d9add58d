from __future__ import annotations

from itertools import pairwise

import pytest

from tamiyo_runtime.contracts import errors, units
from tamiyo_runtime.contracts.cost import Estimate, Source
from tamiyo_runtime.contracts.errors import ExitCode, MissingExtraError, TamiyoError, UnknownNameError
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES, Heads, observation_size, observe
from tamiyo_runtime.contracts.registry import Registry


def test_an_unknown_name_lists_near_ones_and_otherwise_all() -> None:
    registry: Registry[int] = Registry("links")
    registry.register("lora-eu868")(1)
    registry.register("ethernet")(2)
    with pytest.raises(UnknownNameError) as near:
        registry.get("lora-eu686")
    assert near.value.hint == "did you mean lora-eu868?"
    with pytest.raises(UnknownNameError) as far:
        registry.get("zzz")
    assert far.value.hint == "known: ethernet, lora-eu868"
    assert far.value.exit_code == ExitCode.USAGE
    assert registry.names() == ("ethernet", "lora-eu868")
    assert "ethernet" in registry
    assert dict(registry) == {"ethernet": 2, "lora-eu868": 1}


def test_a_name_taken_twice_is_an_error() -> None:
    registry: Registry[int] = Registry("links")
    registry.register("a")(1)
    with pytest.raises(TamiyoError, match="registered twice"):
        registry.register("a")(2)


def test_every_error_has_the_exit_code_of_who_can_mend_it() -> None:
    codes = {
        cls.__name__: cls.exit_code
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, TamiyoError)
    }
    assert codes["InputError"] == codes["SchemaVersionError"] == 2
    assert codes["AccuracyFloorError"] == 3
    assert codes["IncompatibleError"] == 4
    assert codes["MissingToolError"] == 5
    assert codes["SignatureError"] == 6
    assert MissingExtraError("paho", "mqtt").hint == "type: pip install 'tamiyo-edge[mqtt]'"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00182, "s", "1.82 ms"),
        (0, "J", "0 J"),
        (1e-6, "J", "1 uJ"),
        (999.9e3, "B", "1 MB"),
        (float("inf"), "s", "inf s"),
    ],
)
def test_si_prefixes(value: float, unit: str, text: str) -> None:
    assert units.si(value, unit) == text


def test_sizes_and_shares() -> None:
    assert [units.size(n) for n in (0, 2048, 5_000_000)] == ["0 B", "2 KiB", "4.77 MiB"]
    assert units.percent(0.9625) == "96.2 %"
    assert units.milliseconds(1.5) == "1.5 ms"
    assert units.microjoules(2500) == "2.5 mJ"


def test_estimates_add_with_their_intervals_and_mixed_sources_become_analytic() -> None:
    a = Estimate(value=2, low=1, high=4, source=Source.MEASURED)
    b = Estimate(value=3, low=3, high=3, source=Source.ANALYTIC)
    assert a + b == Estimate(value=5, low=4, high=7, source=Source.ANALYTIC)
    assert (a + a).source is Source.MEASURED
    assert a.scaled(2) == Estimate(value=4, low=2, high=8, source=Source.MEASURED)
    with pytest.raises(errors.SchemaError):
        Estimate(value=5, low=1, high=4, source=Source.MEASURED)


def test_an_observation_is_laid_out_in_the_published_order() -> None:
    vector = observe({"accuracy": 0.5}, [{"depth": 0.25}, {}])
    assert len(vector) == observation_size(2)
    assert vector[GLOBAL_FEATURES.index("accuracy")] == 0.5
    assert vector[len(GLOBAL_FEATURES) + SLOT_FEATURES.index("depth")] == 0.25
    assert sum(vector) == 0.75
    with pytest.raises(errors.SchemaError, match="unknown feature 'acuracy'"):
        observe({"acuracy": 1.0}, [])


def test_the_heads_tile_the_output_vector_without_gap_or_overlap() -> None:
    heads = Heads(4, 5)
    slices = list(heads.slices().values())
    assert slices[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(slices))
    assert slices[-1].stop == heads.size
