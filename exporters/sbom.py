"""The bill of materials of a bundle: a CycloneDX document of the graphs in it and of the tools that made them.

A pure function of the bundle's files and of what is installed: no time stamp, and a serial number that is derived from
the contents, so that the same export gives the same bytes. The tools are the distributions of the toolchain with all
that they require, as installed; nothing of them is inside the bundle (scope "excluded").
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.backends.toolchain import EXTRA
from exporters.report import VendorReport
from exporters.tools import TOOLS
from tamiyo_runtime import __version__
from tamiyo_runtime.bundle import entry_of
from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.manifest import Manifest

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

SBOM = "sbom.cdx.json"
VENDORS = {"vela": "ethos-u-vela"}
"""Vendors' compilers that are distributions, by the name of their program."""

_GRAPHS = (".tflite", ".onnx")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:tamiyo:bundle")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An installed distribution. ``requires``: the names of those it needs that are installed as well."""

    name: str
    version: str
    licence: str | None
    requires: tuple[str, ...]


def sbom(manifest: Manifest, files: Mapping[str, bytes], *, vendor: VendorReport | None = None) -> bytes:
    """``sbom.cdx.json`` for a bundle of these files; raises MissingExtraError without cyclonedx-python-lib."""
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import ComponentType
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as exc:
        raise MissingExtraError("cyclonedx", EXTRA) from exc
    compiler = vendor.program if vendor is not None and vendor.ran else None
    found = installed((*TOOLS, VENDORS[compiler]) if compiler in VENDORS else TOOLS)
    tools = {name: _library(item) for name, item in found.items()}
    models = [_model(name, data) for name, data in sorted(files.items()) if name.endswith(_GRAPHS)]
    bundle = _component(
        manifest.name, ComponentType.MACHINE_LEARNING_MODEL, str(manifest.version), "bundle", f"for {manifest.target}"
    )
    ours = _component("tamiyo-edge", ComponentType.APPLICATION, __version__, "tamiyo-edge", "made the bundle")
    python = _component("cpython", ComponentType.PLATFORM, platform.python_version(), "cpython", "ran the tools")
    bom = Bom(serial_number=_serial(manifest, files))
    bom.metadata.component = bundle
    bom.metadata.tools.components.add(ours)
    bom.components.update([*models, *tools.values(), python])
    if vendor is not None and compiler is not None and compiler not in VENDORS:
        program = _component(compiler, ComponentType.APPLICATION, vendor.version, f"program:{compiler}", "compiler")
        bom.components.add(program)
    bom.register_dependency(bundle, models)
    for name, item in found.items():
        bom.register_dependency(tools[name], [tools[other] for other in item.requires])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]  # optional in the format, not in the library
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def installed(names: Iterable[str]) -> dict[str, Distribution]:
    """These distributions and all they require, as far as they are installed here, by normalised name, sorted."""
    found: dict[str, Distribution] = {}
    waiting = [(_normal(name), frozenset[str]()) for name in names]
    seen = set(waiting)
    needs: dict[str, set[str]] = {}
    while waiting:
        name, extras = waiting.pop()
        try:
            metadata = importlib.metadata.distribution(name).metadata
        except importlib.metadata.PackageNotFoundError:
            continue  # not needed on this platform, or by this target
        of_these = dict(_requirements(metadata.get_all("Requires-Dist") or (), extras))
        needs.setdefault(name, set()).update(of_these)
        found[name] = Distribution(name=name, version=metadata["Version"], licence=_licence(metadata), requires=())
        waiting += [item for item in of_these.items() if item not in seen]
        seen.update(of_these.items())
    return {
        name: Distribution(
            name=name,
            version=item.version,
            licence=item.licence,
            requires=tuple(sorted(needs[name] & found.keys() - {name})),
        )
        for name, item in sorted(found.items())
    }


def _requirements(lines: Iterable[str], extras: frozenset[str]) -> Iterable[tuple[str, frozenset[str]]]:
    """Name and extras of each requirement that holds without extras, or with those asked for.

    Markers of platform and Python version are not evaluated: what they exclude is not installed.
    """
    for line in lines:
        head, _, marker = line.partition(";")
        wanted = _EXTRA.search(marker)
        match = _REQUIREMENT.match(head)
        if match is not None and (wanted is None or wanted[1] in extras):
            asked = frozenset(item.strip() for item in (match[2] or "").split(",") if item.strip())
            yield _normal(match[1]), asked


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(metadata: Any) -> str | None:
    """What the metadata say, best first: the SPDX expression, a short free text, the classifier."""
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    text = str(metadata.get("License") or "").strip()
    if text and "\n" not in text and len(text) <= 64:
        return text
    classifiers = [item.rpartition(" :: ")[2] for item in metadata.get_all("Classifier") or () if "License ::" in item]
    return classifiers[0] if classifiers else None


def _serial(manifest: Manifest, files: Mapping[str, bytes]) -> uuid.UUID:
    lines = [f"{name} {entry_of(data).sha256}" for name, data in sorted(files.items())]
    return uuid.uuid5(_NAMESPACE, "\n".join([manifest.name, str(manifest.version), manifest.target, *lines]))


def _component(name: str, kind: Any, version: str | None, ref: str, text: str) -> Component:
    from cyclonedx.model.component import Component

    return Component(name=name, type=kind, version=version, bom_ref=ref, description=text)


def _model(name: str, data: bytes) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    digest = HashType(alg=HashAlgorithm.SHA_256, content=entry_of(data).sha256)
    return Component(name=name, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=f"file:{name}", hashes=[digest])


def _library(item: Distribution) -> Component:
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from packageurl import PackageURL

    return Component(
        name=item.name,
        type=ComponentType.LIBRARY,
        version=item.version,
        bom_ref=f"pypi:{item.name}",
        scope=ComponentScope.EXCLUDED,
        licenses=[_stated(item.licence)] if item.licence else (),
        purl=PackageURL("pypi", None, item.name, item.version),
    )


def _stated(text: str) -> License:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return LicenseFactory().make_from_string(text)
