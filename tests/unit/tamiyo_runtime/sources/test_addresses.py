"""``--source`` texts: what they name, and what is said of those that name nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError
from tamiyo_runtime.sources import length_of, open_source, sources
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.generator import Generator
from tests.tiny import INPUT


@pytest.mark.parametrize(
    ("text", "kind", "body", "options"),
    [
        ("bundle", "bundle", "", {}),
        ("-", "stdin", "", {}),
        ("stdin?queue=8&drop=newest", "stdin", "", {"queue": "8", "drop": "newest"}),
        ("tcp://host:5", "tcp", "host:5", {}),
        ("tcp:host:5", "tcp", "host:5", {}),
        ("serial:///dev/ttyUSB0?baud=9600", "serial", "/dev/ttyUSB0", {"baud": "9600"}),
        ("mqtt://h:1/a/b/+", "mqtt", "h:1/a/b/+", {}),
        ("some/table.csv?label=last", "csv", "some/table.csv", {"label": "last"}),
        ("csv:table.txt", "csv", "table.txt", {}),
        ("some/folder", "folder", "some/folder", {}),
        ("odd?name", "folder", "odd?name", {}),
    ],
)
def test_a_text_is_taken_apart(text: str, kind: str, body: str, options: dict[str, str]) -> None:
    address = Address.parse(text, sources.names())
    assert (address.kind, address.body, dict(address.options)) == (kind, body, options)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("tpc://host:5", UnknownNameError, "did you mean tcp?"),
        ("zzz://host/x", UnknownNameError, "known: bundle, csv, generator"),
        ("generater?seed=1", UnknownNameError, "did you mean generator?"),
        ("stdn", UnknownNameError, "did you mean stdin?"),
        ("stdin?que=1", UnknownNameError, "did you mean queue?"),
        ("stdin?drop=old", UnknownNameError, "did you mean oldest?"),
        ("stdin?queue=0", InputError, "no number from 1 to"),
        ("stdin?queue=1.5", InputError, "no whole number"),
        ("stdin?queue", InputError, "is no option"),
        ("stdin?queue=1&queue=2", InputError, "is no option, or is given twice"),
        ("stdin:file", InputError, "takes no path"),
        ("generator?noise=2", InputError, "no number from 0 to 1"),
        ("generator?noise=nan", InputError, "no number"),
        ("tcp://host", InputError, "tcp://HOST:PORT"),
        ("tcp://host:99999", InputError, "tcp://HOST:PORT"),
        ("mqtt://host:1883", InputError, "names no topic"),
        ("mqtt://host/a/#/b", InputError, "names no topic"),
        ("mqtt://host/a+", InputError, "names no topic"),
        ("mqtt://host/a?drop=wait", UnknownNameError, "known: newest, oldest"),
        ("serial:///dev/null/x", InputError, "no serial port"),
        ("serial://" + __file__, InputError, "is no serial port"),
        ("serial:///dev/null?baud=12345", InputError, "no speed of 12345 baud"),
        ("bundle?x=1", UnknownNameError, "option of bundle"),
        ("nowhere.csv", InputError, "CSV file not found"),
        ("/nowhere", InputError, "no such file or folder"),
    ],
)
def test_a_text_that_names_nothing_is_answered_with_a_hint(
    tiny_bundle: Bundle, text: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        open_source(text, tiny_bundle)
    assert said in f"{caught.value} {caught.value.hint}"  # type: ignore[attr-defined]  # one of ours
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]  # one of ours


def test_a_file_called_like_a_kind_with_a_suffix_is_a_file(tmp_path: Path, tiny_bundle: Bundle) -> None:
    np.save(tmp_path / "a?b.npy", np.zeros((1, 4, 4), np.uint8))
    source = open_source(str(tmp_path / "a?b.npy"), tiny_bundle)
    assert length_of(source) == 1


def _take(source: object, count: int) -> list[tuple[list[float], int | None]]:
    assert isinstance(source, Generator)
    taken = [source.take(0.0) for _ in range(count)]
    return [(sample.value.ravel().tolist(), sample.label) for sample in taken if sample is not None]


def test_a_generator_repeats_itself_with_its_seed_and_stays_within_the_sensors_range(tiny_bundle: Bundle) -> None:
    text = "generator?seed=4&noise=.2&drift=.01&outliers=.5&count=50"
    first, second = (_take(open_source(text, tiny_bundle), 60) for _ in range(2))
    assert first == second
    assert len(first) == 50
    values = np.array([value for value, _ in first])
    assert values.min() >= INPUT.raw_low
    assert values.max() <= INPUT.raw_high
    assert {label for _, label in first} == {sample.label for sample in open_source("bundle", tiny_bundle)}  # type: ignore[union-attr]  # no stream
    assert _take(open_source("generator?seed=5", tiny_bundle), 3) != first[:3]
    assert length_of(open_source("generator", tiny_bundle)) is None


def test_drift_moves_the_zero_point_and_without_a_test_set_signals_are_smooth() -> None:
    still = _take(Generator(INPUT, [], noise=0.0), 40)
    drifting = _take(Generator(INPUT, [], noise=0.0, drift=0.005), 40)
    rise = np.array([np.subtract(a, b).mean() for (a, _), (b, _) in zip(drifting, still, strict=True)])
    assert rise[0] == 0.0
    assert rise[-1] == pytest.approx(0.005 * 16 * 39, rel=0.2)  # less where it is cut off at the stop
    assert all(label is None for _, label in still)
