"""Sources: a sample that cannot be used is named before anything runs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, MissingDependencyError
from tamiyo_runtime.sources import bundled, open_source, sources
from tamiyo_runtime.sources.folder import _parse_pgm, read_sample
from tests import tiny

GOOD = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)


def _save(folder: Path, name: str, value: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(value))
    return path


def test_the_bundles_test_set_comes_with_its_labels_again_and_again(tiny_bundle: Bundle) -> None:
    source = open_source("bundle", tiny_bundle)
    x, y = tiny.samples()
    for _ in range(2):
        assert [sample.label for sample in source] == y.tolist()
    assert all(np.array_equal(sample.value, value) for sample, value in zip(source, x, strict=True))
    assert len(source) == 12
    assert next(iter(source)).value.dtype == np.uint8


def test_files_come_in_the_order_of_their_names_with_the_class_of_their_folder(
    tmp_path: Path, tiny_bundle: Bundle
) -> None:
    _save(tmp_path, "b/2.npy", GOOD)
    _save(tmp_path, "a/1.npy", GOOD[0].astype(np.float64))  # one channel may be left out
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "3.pgm").write_bytes(b"P5\n# a comment\n4 4\n255\n" + GOOD.tobytes())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "4.pgm").write_text("P2 4 4 16\n" + " ".join(map(str, range(16))) + "\n")
    (tmp_path / "notes.txt").write_text("not a sample")
    found = list(open_source(str(tmp_path), tiny_bundle))
    assert [sample.label for sample in found] == [0, 1, 2, None]
    for sample in found:
        np.testing.assert_array_equal(sample.value, GOOD)


def test_a_png_is_read_where_pillow_is_installed_and_names_it_where_not(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "a.png"
    image.fromarray(GOOD[0]).save(path)
    np.testing.assert_array_equal(read_sample(path), GOOD[0])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"a\.png is not a PNG"):
        read_sample(path)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match="needs Pillow") as caught:
        open_source(str(path), tiny_bundle)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.zeros((1, 5, 4), np.uint8), r"shape \[1, 5, 4\], the bundle takes \[1, 4, 4\]"),
        (np.full((1, 4, 4), np.nan), "NaN or infinite"),
        (np.full((1, 4, 4), np.inf), "NaN or infinite"),
        (np.full((1, 4, 4), 17.0), "values from 17 to 17, the bundle takes 0 to 16"),
        (np.full((1, 4, 4), -1), "values from -1 to -1"),
        (np.full((1, 4, 4), "x"), "not numbers"),
    ],
)
def test_a_sample_of_wrong_shape_type_or_range_is_named(
    tmp_path: Path, tiny_bundle: Bundle, value: object, problem: str
) -> None:
    _save(tmp_path, "1.npy", GOOD)
    bad = _save(tmp_path, "2.npy", value)
    with pytest.raises(InputError, match=problem) as caught:
        open_source(str(tmp_path), tiny_bundle)
    assert str(bad) in caught.value.message
    assert caught.value.exit_code == 2


def test_missing_and_empty_folders_and_pickles_are_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        open_source(str(tmp_path / "none"), tiny_bundle)
    with pytest.raises(InputError, match="holds no sample"):
        open_source(str(tmp_path), tiny_bundle)
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"evil\.npy is not a \.npy array"):
        open_source(str(tmp_path), tiny_bundle)


@given(st.binary(max_size=60), st.sampled_from([b"", b"P5 4 4 255\n", b"P2 4 4 16\n", b"P5 99999999 99999999 255\n"]))
def test_no_bytes_make_the_pgm_reader_fail_in_another_way(body: bytes, head: bytes) -> None:
    try:
        value = _parse_pgm(head + body, Path("x.pgm"))
    except InputError as exc:
        assert "x.pgm" in exc.message
    else:
        assert value.dtype == np.uint8


def _lone_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, GOOD)
    return stream.getvalue()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04rubbish", b"plain text", _lone_array()])
def test_a_damaged_archive_of_arrays_is_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"samples\.npz"):
        bundled.load_arrays(data, "samples.npz")


def test_sources_are_a_registry() -> None:
    assert sources.names() == ("bundle", "csv", "folder", "generator", "mqtt", "serial", "stdin", "tcp")
