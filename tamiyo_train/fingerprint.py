"""What has to be the same on two machines for the same job to give the same bits on both."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("collector", "device_profiles", "simulators", "tamiyo_runtime", "tamiyo_train")


def versions() -> dict[str, str]:
    """What a result depends on besides the configuration."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    try:
        found["tamiyo-edge"] = version("tamiyo-edge")
    except PackageNotFoundError:
        found["tamiyo-edge"] = "not installed"
    return found


def code() -> dict[str, str]:
    """Versions, and the hash of every file of ours that training may read."""
    return {**versions(), "files of tamiyo": _files_sha256()}


def fingerprint() -> dict[str, str]:
    """The same, and the instructions torch adds with here."""
    return {**code(), "instructions": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"}


@functools.cache
def _files_sha256() -> str:
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                content = hashlib.sha256(path.read_bytes()).digest()
                digest.update(f"{path.relative_to(_ROOT).as_posix()}\0".encode() + content)
    return digest.hexdigest()
