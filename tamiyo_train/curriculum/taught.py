"""The policies that a course has taught: kept in its folder by layout, and found again to grow networks with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tamiyo_runtime.contracts.errors import InputError, IntegrityError
from tamiyo_runtime.contracts.observation import HEADS, OBSERVATION, check_layout
from tamiyo_train import tensorfile
from tamiyo_train.config import TrainConfig
from tamiyo_train.curriculum.school import Layout, layout_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CoursePolicy:
    """The policy of a course for hosts of one ``layout``; ``weights_sha256``: of its file."""

    policy: Mapping[str, torch.Tensor]
    layout: str
    weights_sha256: str

    def lesson(self) -> dict[str, Any]:
        """Where it came from, for the record of a run that it grows."""
        return {"from": "course", "layout": self.layout, "weights_sha256": self.weights_sha256}


def keep_policy(folder: Path, layout: Layout, weights: Mapping[str, torch.Tensor]) -> str:
    """Write a policy that decides over ``layout``; the file's name."""
    name = _name(layout)
    head = {"layout": str(layout), "observation": OBSERVATION, "heads": HEADS, "blueprints": list(layout.blueprints)}
    tensorfile.write(folder / name, head, dict(weights))
    return name


def course_policy(folder: Path, config: TrainConfig) -> CoursePolicy:
    """The policy in the folder of a course that decides over the slots and blueprints of a configuration's host.

    Raises InputError where the course taught none for such hosts, IncompatibleError for one that reads another
    observation, IntegrityError when its file is damaged or of another version.
    """
    layout = layout_of(config)
    path = folder / _name(layout)
    if not path.is_file():
        there = ", ".join(sorted(other.stem.removeprefix("policy-") for other in folder.glob("policy-*.safetensors")))
        raise InputError(
            f"the course in {folder} has taught no policy for host '{config.host}' of task '{config.task}': "
            f"it decides over {layout}, domain-slots x blueprints",
            hint=f"there are policies for {there or 'none'}; or let the run teach one: --growth policy",
        )
    head, weights = tensorfile.read(path)
    try:
        check_layout("the course's policy", observation=head["observation"], heads=head["heads"])
        theirs = tuple(head["blueprints"])
    except (KeyError, TypeError) as exc:
        raise IntegrityError(
            f"{path} does not say what it decides over: no {exc}", hint="it is of another version; do the course again"
        ) from exc
    if theirs != layout.blueprints:
        raise InputError(
            f"the course's policy decides among {', '.join(theirs)}; host '{config.host}' is offered "
            f"{', '.join(layout.blueprints)}",
            hint="take the task of a stage that the course taught it on, or --growth policy",
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return CoursePolicy(policy=weights, layout=str(layout), weights_sha256=digest)


def _name(layout: Layout) -> str:
    return f"policy-{layout}.safetensors"
