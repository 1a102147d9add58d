"""What `tamiyo doctor` looks at. Each examination is a function that returns findings; none of them raises.

An engine is imported in a child process: on a processor it was not built for it dies with SIGILL, and takes along the
process that imports it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tamiyo_runtime.cage import signal_name

DISTRIBUTION = "tamiyo-edge"
PACKAGES = ("tamiyo_runtime", "device_profiles", "exporters", "simulators", "collector", "tamiyo_train")
_IMPORT_TIMEOUT_S = 60.0


class Verdict(StrEnum):
    """How an examination ended."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"
    WARN = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report. ``required``: without it nothing runs here. ``remedy``: what to type."""

    name: str
    verdict: Verdict
    detail: str
    purpose: str
    required: bool = False
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Everything, in the order of the report."""
    yield _python()
    yield _library("numpy", "numpy", "arrays", extra=None, required=True)
    yield _library("typer", "typer", "the command line", extra=None, required=True)
    engines = list(_engines())
    yield from engines
    works = any(finding.verdict is Verdict.OK for finding in engines)
    yield Finding(
        name="an interpreter",
        verdict=Verdict.OK if works else Verdict.MISSING,
        detail="at least one works" if works else "none of the above works",
        purpose="run networks",
        required=True,
        remedy="" if works else f"pip install '{DISTRIBUTION}[litert]'",
    )
    yield _library("paho.mqtt", "paho-mqtt", "telemetry over MQTT", extra="mqtt")
    yield _library("cryptography", "cryptography", "verify and sign bundles", extra="sign")
    yield _broker()
    for module, distribution, purpose, extra in _TOOLS:
        yield _library(module, distribution, purpose, extra=extra)
    yield _edgetpu_compiler()
    yield from _names()
    yield _keys()


_TOOLS = (
    ("torch", "torch", "train, export", "train"),
    ("safetensors", "safetensors", "checkpoints", "train"),
    ("sklearn", "scikit-learn", "the digits data set", "train"),
    ("onnx", "onnx", "export to ONNX", "export"),
    ("onnxscript", "onnxscript", "export to ONNX", "export"),
    ("onnxslim", "onnxslim", "export to ONNX", "export"),
    ("cyclonedx", "cyclonedx-python-lib", "bill of materials of a bundle", "export"),
    ("litert_torch", "litert-torch", "export to TFLite", "export"),
    ("ai_edge_quantizer", "ai-edge-quantizer", "export to int8", "export"),
    ("ethosu", "ethos-u-vela", "export for Ethos-U", "ethos"),
)


def _python() -> Finding:
    found = platform.python_version()
    new_enough = sys.version_info >= (3, 11)
    return Finding(
        name="python",
        verdict=Verdict.OK if new_enough else Verdict.BROKEN,
        detail=f"{found} on {platform.machine()} {platform.system()}",
        purpose="everything",
        required=True,
        remedy="" if new_enough else "install Python 3.11 or later",
    )


def _engines() -> Iterator[Finding]:
    for name, module, distribution, purpose, extra in (
        ("litert", "ai_edge_litert.interpreter", "ai-edge-litert", "run TFLite graphs", "litert"),
        ("tflite_runtime", "tflite_runtime.interpreter", "tflite-runtime", "run TFLite graphs, older boards", "litert"),
        ("onnxruntime", "onnxruntime", "onnxruntime", "run ONNX graphs", "ort"),
    ):
        if not installed(module):
            if name == "tflite_runtime" and installed("ai_edge_litert"):
                yield Finding(name=name, verdict=Verdict.MISSING, detail="not needed beside litert", purpose=purpose)
                continue
            remedy = f"pip install '{DISTRIBUTION}[{extra}]'"
            yield Finding(name=name, verdict=Verdict.MISSING, detail="not installed", purpose=purpose, remedy=remedy)
            continue
        problem = import_in_child(module)
        yield Finding(
            name=name,
            verdict=Verdict.BROKEN if problem else Verdict.OK,
            detail=problem or _version(distribution),
            purpose=purpose,
            remedy="install a build for this processor, or another interpreter" if problem else "",
        )


def import_in_child(module: str) -> str | None:
    """Import a module in a process of its own; None when that works, else what happened."""
    command = [sys.executable, "-c", f"import {module}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_IMPORT_TIMEOUT_S, check=False)  # noqa: S603  fixed names
    except subprocess.TimeoutExpired:
        return f"importing it takes more than {_IMPORT_TIMEOUT_S:.0f} s"
    if done.returncode < 0:
        name = signal_name(-done.returncode)
        reason = ": built for another processor" if name == "SIGILL" else ""
        return f"importing it ends the process with {name}{reason}"
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return f"importing it fails: {lines[-1] if lines else 'no message'}"
    return None


def installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "version unknown"


def _library(module: str, distribution: str, purpose: str, *, extra: str | None, required: bool = False) -> Finding:
    there = installed(module)
    command = f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {distribution}"
    return Finding(
        name=distribution,
        verdict=Verdict.OK if there else Verdict.MISSING,
        detail=_version(distribution) if there else "not installed",
        purpose=purpose,
        required=required,
        remedy="" if there else command,
    )


def _broker() -> Finding:
    beside = Path(sys.executable).with_name("nats-server")
    programs = {"mosquitto": shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")}
    programs["nats-server"] = shutil.which("nats-server") or (str(beside) if beside.exists() else None)
    found = [name for name, path in programs.items() if path]
    return Finding(
        name="broker",
        verdict=Verdict.OK if found else Verdict.MISSING,
        detail=", ".join(found) or "neither mosquitto nor nats-server found",
        purpose="a broker on this machine (tamiyo broker, --broker embedded)",
        remedy="" if found else f"pip install '{DISTRIBUTION}[broker]', or sudo apt-get install mosquitto",
    )


def _edgetpu_compiler() -> Finding:
    path = shutil.which("edgetpu_compiler")
    return Finding(
        name="edgetpu_compiler",
        verdict=Verdict.OK if path else Verdict.MISSING,
        detail=path or "not on PATH: int8 models for edge-tpu run on the CPU until they are compiled",
        purpose="export for edge-tpu",
        remedy="" if path else "see https://coral.ai/docs/edgetpu/compiler (x86-64 Linux)",
    )


def _names() -> Iterator[Finding]:
    """Some of our import names are those of other distributions as well: make sure that ours are found."""
    owners = importlib.metadata.packages_distributions()
    ours = importlib.util.find_spec("tamiyo_runtime")
    folder = Path(ours.origin).parent.parent if ours is not None and ours.origin else None
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        place = Path(spec.origin).parent.parent if spec is not None and spec.origin else None
        others = sorted(set(owners.get(package, ())) - {DISTRIBUTION})
        if place is not None and place == folder and not others:
            continue
        culprit = f"it belongs to {', '.join(others)}" if others else f"it is found in {place}, not in {folder}"
        yield Finding(
            name=f"import {package}",
            verdict=Verdict.WARN if place == folder else Verdict.BROKEN,
            detail=culprit,
            purpose="tamiyo's own package",
            required=place != folder,
            remedy=f"pip uninstall {' '.join(others)}"
            if others
            else f"install {DISTRIBUTION} in an environment of its own",
        )


def _keys() -> Finding:
    from tamiyo_runtime.signing import home

    folder = home() / "trusted"
    trusted = [path.stem for path in sorted(folder.glob("*.pub"))]
    return Finding(
        name="trusted keys",
        verdict=Verdict.OK if trusted else Verdict.WARN,
        detail=", ".join(trusted) or f"none in {folder}",
        purpose="whose bundles run here",
        remedy="" if trusted else "tamiyo key trust SIGNER.pub (the first export makes and trusts a key of your own)",
    )
