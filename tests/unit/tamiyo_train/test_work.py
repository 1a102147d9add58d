"""What is kept of unfinished work: values without loss, files that are whole or refused, settings that must match."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError, TamiyoError, UsageError
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train import tensorfile, work
from tamiyo_train.codec import decode, encode
from tamiyo_train.config import TrainConfig, adapted
from tamiyo_train.fingerprint import code
from tamiyo_train.work import Work, config_of, keep, settings_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    weights: torch.Tensor
    flags: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    number: int
    share: float
    operation: Operation
    name: str | None
    parts: tuple[Part, ...]
    by_slot: dict[int, float]
    pair: tuple[int, str]


WHOLES = st.builds(
    Whole,
    number=st.integers(-(2**70), 2**70),
    share=st.floats(allow_nan=False),
    operation=st.sampled_from(Operation),
    name=st.none() | st.text(),
    parts=st.lists(
        st.builds(
            lambda values, flags: Part(weights=torch.tensor(values, dtype=torch.float64), flags=np.array(flags, bool)),
            st.lists(st.floats(width=32), max_size=4),
            st.lists(st.booleans(), max_size=3),
        ),
        max_size=2,
    ).map(tuple),
    by_slot=st.dictionaries(st.integers(0, 9), st.floats(allow_nan=False), max_size=3),
    pair=st.tuples(st.integers(), st.text()),
)


def plain(whole):
    """A value as something that can be compared, NaN included."""
    parts = [(p.weights.numpy().tobytes(), p.flags.tolist()) for p in whole.parts]
    return (whole.number, repr(whole.share), whole.operation, whole.name, parts, whole.by_slot, whole.pair)


@given(whole=WHOLES)
def test_a_value_comes_back_from_a_file_bit_by_bit(tmp_path_factory, whole):
    path = tmp_path_factory.mktemp("kept") / "whole.safetensors"
    keep(path, whole)
    document, tensors = tensorfile.read(path)
    assert plain(decode(Whole, document["value"], tensors)) == plain(whole)


def test_numbers_that_are_not_finite_survive():
    assert math.isnan(decode(float, encode(math.nan, {}), {}))
    assert decode(float, encode(-math.inf, {}), {}) == -math.inf


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 0])
def test_what_cannot_be_kept_is_refused_when_it_is_written(value):
    with pytest.raises(TamiyoError, match="cannot be kept"):
        encode({"thing": value}, {})


@pytest.mark.parametrize(("hint", "data"), [(int, "3"), (bool, 1), (tuple[int, int], [1]), (torch.Tensor, "none")])
def test_what_is_of_another_type_is_refused_when_it_is_read(hint, data):
    with pytest.raises(SchemaError):
        decode(hint, data, {})


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path_factory, where, bit):
    path = tmp_path_factory.mktemp("kept") / "x.safetensors"
    tensorfile.write(path, {"a": 1}, {"w": torch.arange(6.0)})
    blob = bytearray(path.read_bytes())
    blob[int(where * len(blob))] ^= 1 << bit
    path.write_bytes(blob)
    try:
        document, tensors = tensorfile.read(path)
    except IntegrityError as exc:
        assert str(path) in exc.message
    else:  # padding of the header, or a part of it that says nothing
        assert document == {"a": 1}
        assert torch.equal(tensors["w"], torch.arange(6.0))


@pytest.mark.parametrize("length", [0, 4, 40, -1])
def test_a_cut_file_is_refused(tmp_path, length):
    path = tmp_path / "x.safetensors"
    tensorfile.write(path, {}, {"w": torch.ones(8)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(IntegrityError, match=r"x\.safetensors"):
        tensorfile.read(path)


CONFIG = TrainConfig(profile=None, seed=3)


@pytest.fixture
def begun(tmp_path):
    held = Work(tmp_path)
    held.begin(settings_for(CONFIG, task_sha256="abc"))
    held.release()
    return tmp_path


def test_the_configuration_of_unfinished_work_comes_back_whole(begun):
    assert config_of(begun) == CONFIG


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 4}, "seed"),
        ({"profile": "coral-usb"}, "profile"),
        ({"final": replace(CONFIG.final, batch=8)}, "final"),
        ({"final": adapted(CONFIG, steps=CONFIG.final.steps * 2).final}, r"final\.steps"),
    ],
)
def test_work_begun_with_another_setting_is_not_gone_on_with(begun, change, name):
    held = Work(begun)
    with pytest.raises(UsageError, match=f"begun with {name}") as caught:
        held.go_on(settings_for(replace(CONFIG, **change), task_sha256="abc"))
    assert "--resume" in caught.value.hint
    held.release()


@pytest.mark.parametrize("name", ["files of tamiyo", "torch", "python"])
@pytest.mark.parametrize("before", ["0" * 64, None])
def test_work_begun_by_other_code_is_not_gone_on_with_by_this(begun, name, before):
    settings = begun / work.FOLDER / "settings.json"
    kept = json.loads(settings.read_text())
    assert kept["versions"] == code()
    if before is None:
        del kept["versions"][name]
    else:
        kept["versions"][name] = before
    settings.write_text(json.dumps(kept))
    held = Work(begun)
    with pytest.raises(UsageError, match=f"begun with {name} = {before or 'none'}, not ") as caught:
        held.go_on(settings_for(CONFIG, task_sha256="abc"))
    assert "--overwrite" in caught.value.hint
    held.release()


def test_only_one_process_works_in_a_folder(begun):
    held = Work(begun)
    with pytest.raises(InputError, match="another process is at work"):
        Work(begun)
    held.release()
    Work(begun).release()


def test_a_damaged_file_is_dropped_and_said(begun):
    said = []
    held = Work(begun, on_remark=said.append)
    keep(held.path("policy"), CONFIG)
    assert held.kept("policy", TrainConfig) == CONFIG
    blob = bytearray(held.path("policy").read_bytes())
    blob[-2] ^= 4
    held.path("policy").write_bytes(blob)
    assert held.kept("policy", TrainConfig) is None
    assert "policy.safetensors is damaged" in said[0]
    assert not held.path("policy").exists()
    held.remove()
    assert not (begun / work.FOLDER).exists()


def test_settings_that_are_damaged_or_missing_are_refused(begun, tmp_path_factory):
    with pytest.raises(InputError, match="no unfinished work"):
        config_of(tmp_path_factory.mktemp("empty"))
    (begun / work.FOLDER / "settings.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"settings\.json is damaged"):
        config_of(begun)
