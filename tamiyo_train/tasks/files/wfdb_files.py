"""Files of a WFDB record: header (.hea), signals (.dat, formats 212 and 16) and annotations (.atr, MIT format).

Source: header(5), signal(5) and annot(5) of the WFDB Applications Guide, https://physionet.org/physiotools/wag/. A
record of several segments, several samples a frame and other formats are refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import read_bytes
from tamiyo_train.tasks.files.base import LIMIT_BYTES

Floats = NDArray[np.float64]
_LEAST_BYTES = {16: (2, 1), 212: (3, 2)}
"""Bytes and the samples they hold, by format."""
_INVALID = {16: -32768, 212: -2048}
"""What stands for a sample that was not taken."""
_GAIN = 200.0
"""Units a millivolt where the header gives none, as header(5) has it."""
_MOST_SIGNALS = 64
_RATES_HZ = (10.0, 10_000.0)
"""Of an ECG, with room to spare."""
_RECORD = re.compile(r"(\d{1,3})(?: (\d+(?:\.\d+)?)(?:[/(]\S*)?(?: (\d+))?)?")
"""Number of signals, and perhaps rate and samples, of a record line behind its name."""
_SIGNAL = re.compile(
    r"(?P<file>\S+) (?P<format>\S+)"
    r"(?: (?P<gain>\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?:\((?P<baseline>-?\d+)\))?(?:/\S*)?"
    r"(?: \d+(?: (?P<zero>-?\d+)(?: -?\d+(?: (?P<checksum>-?\d+))?)?)?)?)?"
)
"""A signal line as far as its checksum: file, format, gain(baseline)/units, resolution, zero, first value, checksum."""
_SKIP, _NUM, _SUB, _CHN, _AUX = range(59, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One signal's line of a header. ``gain``: units a millivolt; ``baseline``: the unit of 0 mV."""

    file: str
    format: int
    gain: float
    baseline: int
    checksum: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A record: ``samples`` a signal, None where the header does not say."""

    name: str
    rate_hz: float
    samples: int | None
    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """When (sample) and what (code of annot(5)) was noted, in order of time."""

    at: NDArray[np.int64]
    code: NDArray[np.int64]


def read_header(path: Path) -> Header:
    """Read a .hea file; raises InputError naming the line."""
    text = read_bytes(path, limit_bytes=1 << 20, what="WFDB header").decode("ascii", "replace")
    lines = [(n, line.split()) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines:
        raise InputError(f"{path} has no record line", hint="a header begins: NAME SIGNALS RATE SAMPLES")
    number, record = lines[0]
    if "/" in record[0]:
        raise InputError(f"{path}, line {number}: the record has segments", hint="give its segments as records")
    found = _RECORD.fullmatch(" ".join(record[1:4]))
    if found is None or not 0 < int(found[1]) <= _MOST_SIGNALS:
        raise InputError(
            f"{path}, line {number}: '{' '.join(record)[:60]}' is no record line", hint="NAME SIGNALS RATE SAMPLES"
        )
    count, rate, samples = int(found[1]), float(found[2] or 250), int(found[3] or 0)
    if not _RATES_HZ[0] <= rate <= _RATES_HZ[1]:
        least, most = _RATES_HZ
        raise InputError(
            f"{path}, line {number}: {rate:g} samples a second", hint=f"records of {least:g} to {most:g} Hz are read"
        )
    if len(lines) < 1 + count:
        raise InputError(f"{path} describes {len(lines) - 1} of {count} signals", hint="the header is cut off")
    signals = tuple(_signal(path, number, fields) for number, fields in lines[1 : 1 + count])
    return Header(name=record[0], rate_hz=rate, samples=samples or None, signals=signals)


def _signal(path: Path, number: int, fields: list[str]) -> Signal:
    found = _SIGNAL.fullmatch(" ".join(fields[:7]))
    if found is None:
        raise InputError(
            f"{path}, line {number}: '{' '.join(fields)[:60]}' describes no signal", hint="FILE FORMAT GAIN ..."
        )
    file, form = found["file"], found["format"]
    if not form.isdecimal() or int(form) not in _LEAST_BYTES:
        raise InputError(
            f"{path}, line {number}: signals of format '{form}' are not read", hint="formats 212 and 16 are"
        )
    gain = float(found["gain"] or 0) or _GAIN
    baseline = int(found["baseline"] or found["zero"] or 0)
    checksum = None if found["checksum"] is None else int(found["checksum"])
    if Path(file).name != file:
        raise InputError(f"{path}, line {number}: '{file}' lies elsewhere", hint="signal files lie beside the header")
    return Signal(file=file, format=int(form), gain=gain, baseline=baseline, checksum=checksum)


def read_signal(folder: Path, header: Header, index: int = 0) -> Floats:
    """One signal in millivolt, (samples,).

    Raises InputError when its file is cut off or too long, a sample was not taken, or its checksum is another.
    """
    wanted = header.signals[index]
    together = [k for k, signal in enumerate(header.signals) if signal.file == wanted.file]
    path = folder / wanted.file
    raw = read_bytes(path, limit_bytes=LIMIT_BYTES, what="WFDB signal file")
    size, held = _LEAST_BYTES[wanted.format]
    if header.samples is not None:
        needed = -(-header.samples * len(together) * size // held)
        if len(raw) < needed:
            whole = len(raw) * held // (size * len(together))
            raise InputError(
                f"{path} is cut off: it holds {whole} samples a signal, the header says {header.samples}",
                hint=f"{needed} bytes are needed, {len(raw)} are there; copy it again",
            )
        raw = raw[:needed]
    units = _unpacked(raw, wanted.format)
    units = units[: len(units) // len(together) * len(together)]
    if header.samples is not None:
        units = units[: header.samples * len(together)]
    own = units.reshape(-1, len(together))[:, together.index(index)]
    if wanted.checksum is not None and (int(own.sum()) - wanted.checksum) % 65536:
        raise InputError(
            f"{path}: the checksum of signal {index} is {int(own.sum()) % 65536}, the header says "
            f"{wanted.checksum % 65536}",
            hint="the file was damaged or changed; copy it again",
        )
    missing = np.flatnonzero(own == _INVALID[wanted.format])
    if len(missing):
        raise InputError(f"{path}, sample {missing[0]}: not a number (no sample was taken)", hint="cut it out")
    return (own - wanted.baseline) / wanted.gain


def _unpacked(raw: bytes, form: int) -> NDArray[np.int64]:
    """Samples as whole numbers: 16 is little-endian; 212 packs two of twelve bits into three bytes."""
    if form == 16:
        return np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.int64)
    padded = np.frombuffer(raw + bytes(-len(raw) % 3), np.uint8).astype(np.int64).reshape(-1, 3)
    first = padded[:, 0] | (padded[:, 1] & 0x0F) << 8
    second = padded[:, 2] | (padded[:, 1] & 0xF0) << 4
    both = np.stack([first, second], axis=1).ravel()
    return np.where(both > 2047, both - 4096, both)


def read_annotations(path: Path) -> Annotations:
    """Read an annotation file; raises InputError with the byte where it is cut off."""
    raw = read_bytes(path, limit_bytes=LIMIT_BYTES, what="WFDB annotation file")
    words = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2").tolist()
    at: list[int] = []
    code: list[int] = []
    now, place = 0, 0
    while place < len(words):
        kind, interval = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if kind == 0 and interval == 0:
            return Annotations(at=np.array(at, np.int64), code=np.array(code, np.int64))
        if kind == _SKIP:
            if place + 2 > len(words):
                break
            long = words[place] << 16 | words[place + 1]
            now += long - (1 << 32) if long >> 31 else long
            place += 2
        elif kind == _AUX:
            place += (interval + 1) // 2
        elif kind not in (_NUM, _SUB, _CHN):
            now += interval
            at.append(now)
            code.append(kind)
    raise InputError(f"{path}, byte {len(raw)}: it ends without an end mark", hint="it is cut off; copy it again")
