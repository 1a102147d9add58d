from __future__ import annotations

import pytest

from device_profiles.loader import load_profile
from exporters.ops.shipped import tables
from exporters.targets import Target, targets
from tamiyo_runtime.contracts.errors import UnknownNameError
from tamiyo_runtime.contracts.plan import Layout, Precision


@pytest.mark.parametrize("name", targets.names())
def test_every_target_names_things_that_exist(name: str) -> None:
    target = targets.get(name)
    assert isinstance(target, Target)
    assert target.name == name
    profile = load_profile(target.profile)
    ids = [variant.id for variant in target.variants]
    assert len(ids) == len(set(ids)) > 0
    for variant in target.variants:
        assert variant.precision in profile.rates
        assert variant.id == f"{variant.format}-{'float' if variant.precision is Precision.FLOAT32 else 'int8'}"
    if target.operator_table is not None:
        assert tables.get(target.operator_table).rules


def test_where_a_boundary_is_dear_whole_configurations_are_compiled_for_old_compilers() -> None:
    (variant,) = targets.get("edge-tpu").variants
    assert (variant.layout, variant.precision, variant.per_tensor_dense) == (Layout.WHOLE, Precision.INT8, True)


def test_a_misspelt_target_names_the_near_one() -> None:
    with pytest.raises(UnknownNameError) as caught:
        targets.get("edgetpu")
    assert caught.value.message == "unknown target 'edgetpu'"
    assert caught.value.hint == "did you mean edge-tpu or cloud-tpu?"
