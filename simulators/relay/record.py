"""What a relay decided, as a file: JSON lines, a header first, one line a decision or an outage.

    {"schema": "tamiyo.relay/1", "link": "lte?seed=3", "label": "...", "speed": 1.0}
    {"at_s": 0.61, "direction": "up", "waiting_bytes": 31, ..., "tries": 1, "lost": false}
    {"begins_s": 12.0, "ends_s": 14.0}

Times are of the link's clock. Decisions lie in the order of their offers, an outage among them where the relay noticed
it. Each line is written at once, so that what a killed relay leaves is a record as far as it got.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simulators.links import open_link
from simulators.relay.medium import Decision, LinkMedium, Outage
from tamiyo_runtime.contracts.document import check_schema, dump, load, parse_json, require
from tamiyo_runtime.contracts.errors import InputError, SchemaError, SchemaVersionError
from tamiyo_runtime.files import private_opener, read_bytes

SCHEMA = "tamiyo.relay/1"
_LIMIT_BYTES = 1 << 30
_LINE_BYTES = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """``link`` as `open_link` takes it; ``speed``: seconds of the link to a real one when it was recorded."""

    schema: str
    link: str
    label: str
    speed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A file's content."""

    header: Header
    decisions: tuple[Decision, ...]
    outages: tuple[Outage, ...]

    def computed_again(self) -> tuple[Decision, ...]:
        """What the link of the header decides on the same offers: the same, unless another version made the record."""
        medium = LinkMedium(open_link(self.header.link))
        return tuple(medium.decide(one.at_s, one.direction, one.waiting_bytes) for one in self.decisions)


def written(*, link: str, label: str, speed: float, entries: Iterable[Decision | Outage]) -> str:
    """A whole record as text."""
    header = Header(schema=SCHEMA, link=link, label=label, speed=speed)
    return "".join(_line(one) for one in (header, *entries))


class Recorder:
    """Writes a file line by line. ``problem`` is what kept it from that, if anything did; then it writes no more.

    Raises InputError for a file that exists, unless it may be replaced, or cannot be made.
    """

    def __init__(self, path: Path, *, link: str, label: str, speed: float, overwrite: bool) -> None:
        self.path = path
        self.problem: OSError | None = None
        self._there = path.exists()
        try:
            self._file = open(path, "w" if overwrite else "x", encoding="utf-8", buffering=1, opener=private_opener)  # noqa: SIM115
        except FileExistsError:
            raise InputError(f"{path} exists already", hint="pass --overwrite to replace it") from None
        except OSError as exc:
            raise InputError(f"cannot write the record {path}: {exc.strerror}", hint="check the path") from exc
        self._write(written(link=link, label=label, speed=speed, entries=()))

    def tell(self, one: Decision | Outage) -> None:
        """Write it."""
        self._write(_line(one))

    def close(self) -> None:
        """End the file."""
        try:
            self._file.close()
        except OSError as exc:
            self.problem = self.problem or exc

    def discard(self) -> None:
        """There will be nothing to record after all."""
        self.close()
        if not self._there:
            self.path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        if self.problem is not None:
            return
        try:
            self._file.write(line)
        except OSError as exc:  # a full disk, as a rule: the network goes on
            self.problem = exc


def read_record(path: Path) -> Record:
    """A file that a `Recorder` wrote; raises InputError, and SchemaError with the number of a damaged line."""
    lines = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="record").split(b"\n")
    header = _header(path, lines[0])
    if lines[-1]:
        raise SchemaError(f"{path}, line {len(lines)}", "it was cut off", hint="remove that line to use the rest")
    decisions: list[Decision] = []
    outages: list[Outage] = []
    for number, line in enumerate(lines[1:-1], start=2):
        one = _entry(f"{path}, line {number}", line)
        if isinstance(one, Outage):
            require(not outages or outages[-1].ends_s <= one.begins_s, f"{path}, line {number}", "it goes back in time")
            outages.append(one)
        else:
            require(not decisions or decisions[-1].at_s < one.at_s, f"{path}, line {number}", "it goes back in time")
            decisions.append(one)
    if not decisions:
        raise InputError(f"the record {path} holds no decision", hint="nothing went over the link: record again")
    return Record(header=header, decisions=tuple(decisions), outages=tuple(outages))


def _line(one: Header | Decision | Outage) -> str:
    return json.dumps(dump(one), allow_nan=False) + "\n"


def _header(path: Path, line: bytes) -> Header:
    where = f"{path}, line 1"
    try:
        data = parse_json(line, path=where, limit_bytes=_LINE_BYTES)
        check_schema(str(data.get("schema")) if isinstance(data, dict) else "", SCHEMA, path=where)
        return load(Header, data, path=where)
    except SchemaVersionError:
        raise
    except SchemaError as exc:
        raise SchemaError(
            exc.path, exc.message.removeprefix(f"{exc.path}: "), hint="records are made by `tamiyo link relay --record`"
        ) from exc


def _entry(where: str, line: bytes) -> Decision | Outage:
    data = parse_json(line, path=where, limit_bytes=_LINE_BYTES)
    if isinstance(data, dict) and "begins_s" in data:
        return load(Outage, data, path=where)
    return load(Decision, data, path=where)
