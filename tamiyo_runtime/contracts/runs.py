"""What is timed on a device and what came out: the probe kit that goes to a board, and the runs that come back.

A kit holds small graphs, each with the operators that a cost model sees in it, so that neither the board nor whoever
fits a profile has to read graph files. Runs repeat those operators: a file of runs can be fitted on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.document import (
    canonical_json,
    check_schema,
    load,
    parse_json,
    require,
    require_finite,
)
from tamiyo_runtime.contracts.manifest import FileEntry, check_member_name
from tamiyo_runtime.contracts.plan import Graph, Precision

KIT_SCHEMA = "tamiyo.probes/1"
RUNS_SCHEMA = "tamiyo.runs/1"
_RUNS_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One operator: its class as the profiles name it, multiply-accumulates, and bytes as stored.

    ``gemm`` is the matrix product (M, K, N) that it amounts to, ``groups`` times over; None where it is none.
    ``window`` counts the positions of a convolution's window.
    """

    kind: str
    macs: int
    weight_bytes: int
    input_bytes: int
    output_bytes: int
    code: str = ""
    params: int | None = None
    gemm: tuple[int, int, int] | None = None
    groups: int = 1
    window: int = 1

    def __post_init__(self) -> None:
        least = min(self.macs, self.weight_bytes, self.input_bytes, self.output_bytes, self.params or 0)
        require(least >= 0, "ops", f"{self.kind}: sizes must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A graph to be timed. ``family`` says what kind of graph it is: ``conv2d``, ``residual-network`` ..."""

    id: str
    family: str
    precision: Precision
    graph: Graph
    ops: tuple[Work, ...]

    def __post_init__(self) -> None:
        require(bool(self.ops), "ops", f"probe '{self.id}' has no operator")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeKit:
    """Contents of ``kit.json``. ``reference`` is the probe that is timed beside every other one.

    ``files`` are the archives that the graphs lie in, one a family.
    """

    schema: str
    seed: int
    reference: str
    probes: tuple[Probe, ...]
    files: Mapping[str, FileEntry]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_schema(self.schema, KIT_SCHEMA)
        names = [probe.id for probe in self.probes]
        require(len(set(names)) == len(names), "probes", "two probes share a name")
        require(self.reference in names, "reference", f"no probe is called '{self.reference}'")
        for name in self.files:
            check_member_name(name)

    def to_json(self) -> bytes:
        """The canonical bytes: what is signed."""
        return canonical_json(self)

    @classmethod
    def from_json(cls, raw: bytes) -> ProbeKit:
        """Parse and validate; raises SchemaError or SchemaVersionError."""
        return load(cls, _of_version(parse_json(raw, path="kit"), KIT_SCHEMA, "kit"), path="kit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Times of one graph, or of one configuration's chain, in us: copy in, invoke, copy out.

    Every round gives a median; ``p50_us`` is the median over rounds, ``round_low_us`` and ``round_high_us`` their
    quartiles. ``p90_us`` and ``p999_us`` are over all ``invocations`` kept. ``relative`` is the median over rounds of
    this time over the reference's in the same round, which a machine that changes its speed leaves alone. ``ops`` is
    empty where they are not known, as for bundles.
    """

    id: str
    family: str
    precision: Precision
    p50_us: float
    p90_us: float
    p999_us: float
    round_low_us: float
    round_high_us: float
    relative: float
    rounds: int
    invocations: int
    graphs: int = 1
    estimate_us: float | None = None
    ops: tuple[Work, ...] = ()

    def __post_init__(self) -> None:
        times = {"p50_us": self.p50_us, "p90_us": self.p90_us, "p999_us": self.p999_us, "relative": self.relative}
        require_finite(**times, round_low_us=self.round_low_us, round_high_us=self.round_high_us)
        for name, value in times.items():
            require(value > 0, name, f"'{self.id}': must be above 0, got {value}")
        require(self.rounds > 0, "rounds", f"'{self.id}': must be above 0, got {self.rounds}")
        ordered = self.round_low_us <= self.p50_us <= self.round_high_us
        require(ordered, "p50_us", f"'{self.id}': must lie between the quartiles of its rounds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where runs were timed. ``device`` is the name its owner gives it; the rest is what the system says."""

    device: str
    cpu: str
    architecture: str
    system: str
    python: str
    interpreter: str
    interpreter_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The graph timed beside all others: its median, and the 5th and 95th percentile over rounds, us.

    The two ends show how much the machine changed its speed meanwhile.
    """

    id: str
    p50_us: float
    low_us: float
    high_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """A file of runs. ``subject`` is ``probes`` or ``bundle``, ``digest`` that of what was timed."""

    schema: str
    subject: str
    digest: str
    machine: Machine
    when: str
    threads: int
    source: Source
    reference: Reference
    runs: tuple[Run, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_schema(self.schema, RUNS_SCHEMA)
        require(bool(self.runs), "runs", "must not be empty")

    def to_json(self) -> bytes:
        """The canonical bytes."""
        return canonical_json(self)

    @classmethod
    def from_json(cls, raw: bytes, *, path: str) -> Runs:
        """Parse and validate; ``path`` names the file in errors. Raises SchemaError or SchemaVersionError."""
        data = parse_json(raw, path=path, limit_bytes=_RUNS_LIMIT_BYTES)
        return load(cls, _of_version(data, RUNS_SCHEMA, path), path=path)


def _of_version(data: Any, schema: str, path: str) -> Any:
    """Judge the version before anything that a later one may have changed."""
    if isinstance(data, Mapping) and isinstance(data.get("schema"), str):
        check_schema(data["schema"], schema, path=f"{path}: schema")
    return data
