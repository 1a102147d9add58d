"""The last states of a growing network on disk, so that there always is a whole one to go back to.

Each state is a file of its own, put in place in one step and named by its generation and its hash; the one before is
removed only when the new one is there. Whatever moment a process is killed at, and whatever becomes of the newest file,
the newest *whole* state is found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tamiyo_runtime.contracts.errors import IntegrityError, TamiyoError
from tamiyo_runtime.files import sync_folder
from tamiyo_train import tensorfile
from tamiyo_train.env import GrowthEnv
from tamiyo_train.resume import restore, state_of

GENERATIONS = 2
"""States that are kept: the newest, and the one before it."""
_NAME = re.compile(r"state-(\d{8})-([0-9a-f]{16})\.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """Which generation an episode was brought to, and what was wrong with newer ones."""

    generation: int
    refused: tuple[str, ...]


class Vault:
    """A folder of states; one writer at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, env: GrowthEnv) -> Path:
        """Write the state of an episode between two windows as a new generation."""
        document, tensors = state_of(env)
        return self.write(document, tensors)

    def write(self, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Path:
        """Write a state as a new generation and drop all but the last ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self._files()
        fresh = self.folder / ".state.new"
        tensorfile.write(fresh, document, tensors)
        generation = files[-1][0] + 1 if files else 0
        path = self.folder / f"state-{generation:08d}-{_sha256(fresh.read_bytes())}.safetensors"
        fresh.replace(path)
        sync_folder(self.folder)
        for _, stale in files[: len(files) + 1 - GENERATIONS]:
            stale.unlink(missing_ok=True)
        return path

    def bring(self, env: GrowthEnv) -> Restored:
        """Bring a freshly built episode of the same configuration to the newest whole state.

        Raises IntegrityError saying what is wrong with each state when none is whole.
        """
        refused: list[str] = []
        for generation, path in reversed(self._files()):
            try:
                document, tensors = _read(path)
                restore(env, document, tensors)
            except TamiyoError as exc:
                refused.append(f"{path.name}: {exc.message}")
                continue
            return Restored(generation=generation, refused=tuple(refused))
        raise IntegrityError(
            f"no whole state in {self.folder}: {'; '.join(refused) or 'it is empty'}", hint="train again from the start"
        )

    def _files(self) -> list[tuple[int, Path]]:
        found = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("state-*"))
        return sorted((int(match[1]), path) for match, path in found if match is not None)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    match = _NAME.fullmatch(path.name)
    if match is None or _sha256(path.read_bytes()) != match[2]:
        raise IntegrityError("its bytes are not those that were written")
    return tensorfile.read(path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
