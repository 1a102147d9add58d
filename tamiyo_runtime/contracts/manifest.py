"""The manifest: everything a runtime has to know of a bundle, in one signed document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import canonical_json, check_schema, check_tame, load, parse_json, require
from tamiyo_runtime.contracts.plan import Configuration, Format, Graph, SegmentPlan, Variant, require_shape
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.reference import Reference

SCHEMA = "tamiyo.manifest/1"
MAX_VERSION = 2**31 - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_member_name(name: str) -> None:
    """Refuse a bundle path that is absolute, climbs out, or is not plain POSIX; raises SchemaError."""
    path = PurePosixPath(name)
    plain = bool(name) and not path.is_absolute() and "\\" not in name and str(path) == name and name.isprintable()
    require(plain and ".." not in path.parts and len(name) <= 200, "files", f"unsafe member name {name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Hash and size of one file of the bundle."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        require(_SHA256.fullmatch(self.sha256) is not None, "sha256", "must be 64 hexadecimal digits")
        require(self.size_bytes >= 0, "size_bytes", "must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a sample is before the first graph: real = (raw - offset) * scale, laid out as ``shape`` without batch.

    ``layout`` names the axes of ``shape``, as in ``CHW``; a graph that wants another order shows it in its input shape.
    """

    shape: tuple[int, ...]
    layout: str
    offset: float
    scale: float
    raw_low: float
    raw_high: float

    def __post_init__(self) -> None:
        require_shape(self.shape)
        require(
            len(self.layout) == len(self.shape),
            "layout",
            f"{self.layout!r} does not name {len(self.shape)} axes",
        )
        require(self.scale > 0, "scale", "must be above 0")
        require(self.raw_low < self.raw_high, "raw_low", "must be below raw_high")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """The exported policy: its graphs by format, and the observation and head layout it was trained with."""

    graphs: Mapping[Format, Graph]
    observation: str
    heads: str
    slots: int
    blueprints: tuple[str, ...]

    def __post_init__(self) -> None:
        require(bool(self.graphs), "graphs", "must not be empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Contents of ``manifest.json``.

    ``files`` lists every other file of the bundle; ``variants`` come in the order a runtime should prefer them;
    ``provenance`` records what the bundle was made from (checkpoint hash, tool versions, data hash), never a path.
    ``version`` counts releases of a name by one signer: a device refuses a lower one than it ran before.
    ``reference``: what the monitors compare input and answers with; None in a bundle that is not monitored.
    """

    schema: str
    name: str
    target: str
    task: str
    classes: tuple[str, ...]
    input: InputSpec
    plan: SegmentPlan
    configurations: tuple[Configuration, ...]
    variants: tuple[Variant, ...]
    policy: PolicySpec | None
    profile: ProfileSnapshot
    budget: Budget
    files: Mapping[str, FileEntry]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    reference: Reference | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA)
        require(0 < self.version <= MAX_VERSION, "version", f"must be in [1, {MAX_VERSION}], got {self.version}")
        for name in self.files:
            check_member_name(name)
        require(bool(self.variants), "variants", "must not be empty")
        known = {configuration.id for configuration in self.configurations}
        for configuration in self.configurations:
            require(
                len(configuration.gates) == self.plan.slots,
                "configurations",
                f"{configuration.id}: one gate a slot",
            )
        for variant in self.variants:
            for runnable in variant.runnables:
                require(
                    runnable.configuration in known,
                    "variants",
                    f"no configuration '{runnable.configuration}'",
                )
            for graph in variant.graphs.values():
                self._check_graph("variants", graph, variant.format)
        for form, graph in self.policy.graphs.items() if self.policy else ():
            self._check_graph("policy", graph, form)
        self._check_reference()

    def _check_graph(self, path: str, graph: Graph, form: Format) -> None:
        """A graph's file is listed, and is called what it is: the suffix decides who looks into it and who runs it."""
        require(graph.file in self.files, path, f"file '{graph.file}' is not listed in files")
        require(graph.file.endswith(f".{form}"), path, f"file '{graph.file}' is not called .{form}")

    def _check_reference(self) -> None:
        """The reference speaks of runnables that exist."""
        ran = {variant.id: {item.configuration for item in variant.runnables} for variant in self.variants}
        for variant, limits in self.reference.confidence.items() if self.reference else ():
            require(variant in ran, "reference.confidence", f"no variant '{variant}'")
            for name in limits:
                require(name in ran[variant], "reference.confidence", f"'{variant}' has no configuration '{name}'")

    def to_json(self) -> bytes:
        """The canonical bytes: what is signed."""
        return canonical_json(self)

    @classmethod
    def from_json(cls, raw: bytes) -> Manifest:
        """Parse and validate; raises SchemaError or SchemaVersionError."""
        data = parse_json(raw, path="manifest")
        check_tame(data, path="manifest")
        if isinstance(data, Mapping) and isinstance(data.get("schema"), str):
            check_schema(data["schema"], SCHEMA, path="manifest.schema")  # before anything a later version may change
        return load(cls, data, path="manifest")
