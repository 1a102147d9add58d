"""Networks that come with the package, when what was installed is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train import packaged
from tamiyo_train.policy import shipped as policy
from tamiyo_train.regions import shipped as allocator

SHIPPED = [(policy, "vector", policy.network), (allocator, "allocator", allocator.allocator.__wrapped__)]


@pytest.fixture(params=SHIPPED, ids=["policy", "allocator"])
def installed(request, monkeypatch, tmp_path):
    """A copy of what is installed, what its files are called, and what reads them."""
    module, name, load = request.param
    for kind in ("json", "safetensors"):
        shutil.copy(Path(module.__file__).with_name(f"{name}.{kind}"), tmp_path)
    monkeypatch.setattr(packaged, "files", lambda package: tmp_path)
    return tmp_path, name, load


def test_what_is_whole_is_loaded(installed):
    _, _, load = installed
    assert load() is not None


def test_one_byte_of_the_weights_makes_them_other_weights(installed):
    folder, name, load = installed
    body = bytearray((folder / f"{name}.safetensors").read_bytes())
    body[len(body) // 2] ^= 1
    (folder / f"{name}.safetensors").write_bytes(body)
    with pytest.raises(IntegrityError, match="not those of its card") as caught:
        load()
    assert "install the package anew" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["{", "", "\xff"])
def test_a_card_that_is_no_json_is_named(installed, text):
    folder, name, load = installed
    (folder / f"{name}.json").write_text(text, encoding="latin-1")
    with pytest.raises(IntegrityError, match=f"card of the shipped {name} is damaged"):
        load()


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_file_that_is_missing_is_named(installed, kind):
    folder, name, load = installed
    (folder / f"{name}.{kind}").unlink()
    with pytest.raises(IntegrityError, match=f"{name}.{kind}"):
        load()
