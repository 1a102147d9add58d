"""CSV files: which column is the class, and which line cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError, TamiyoError
from tamiyo_runtime.sources import open_source

ROW = ",".join(str(value) for value in range(16))
NAMES = ",".join(f"p{index}" for index in range(16))


def _table(folder: Path, *lines: str) -> str:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("lines", "options", "labels"),
    [
        ([ROW, ROW], "", [None, None]),
        ([NAMES, ROW], "", [None]),
        ([f"{NAMES},Label", f"{ROW},b", f"{ROW},2", f"{ROW},"], "", [1, 2, None]),
        ([f"kind,{NAMES}", f"c,{ROW}"], "?label=kind", [2]),
        ([f"a,{ROW}", "", f"1.0,{ROW}"], "?label=first", [0, 1]),
        ([f"{ROW},0"], "?label=last", [0]),
    ],
)
def test_a_row_is_a_sample_and_one_column_may_be_its_class(
    tmp_path: Path, tiny_bundle: Bundle, lines: list[str], options: str, labels: list[int | None]
) -> None:
    source = open_source(_table(tmp_path, *lines) + options, tiny_bundle)
    for _ in range(2):
        samples = list(source)  # type: ignore[arg-type]  # no stream
        assert [sample.label for sample in samples] == labels
    np.testing.assert_array_equal(samples[0].value.ravel(), range(16))
    assert samples[0].value.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ([ROW, "1,2"], "", "line 2: it holds 2 numbers, the bundle takes 16"),
        ([ROW, ROW.replace("3", "x", 1)], "", "line 2: it holds something that is no number"),
        ([ROW, ROW.replace("3", "nan", 1)], "", "line 2: it holds NaN"),
        ([ROW, ROW.replace("3", "99", 1)], "", "line 2: it goes from 0 to 99"),
        ([f"{ROW},1"], "", "?label=last"),
        ([f"{ROW},z"], "?label=last", "classes: a, b, c"),
        ([f"{ROW},3"], "?label=last", "'3' is no class"),
        ([f"{NAMES},kind", f"{ROW},a"], "?label=kin", "did you mean kind?"),
        ([""], "", "holds no sample"),
        ([NAMES], "", "holds no sample"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_before_anything_runs(
    tmp_path: Path, tiny_bundle: Bundle, lines: list[str], options: str, said: str
) -> None:
    with pytest.raises(TamiyoError) as caught:
        open_source(_table(tmp_path, *lines) + options, tiny_bundle)
    assert said in f"{caught.value} {caught.value.hint}"
    assert caught.value.exit_code == 2


def test_bytes_that_are_no_table_are_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InputError):
        open_source(str(path), tiny_bundle)
