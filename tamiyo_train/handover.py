"""A run as plain modules and arrays, the way an exporter wants it: nothing in it knows of growth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.data import task_of_run
from tamiyo_train.policy.oracle import simulate
from tamiyo_train.run import Run
from tamiyo_train.seed import GrownNetwork, Seed
from tamiyo_train.tasks import Task

CALIBRATION = 300
"""Samples handed over to calibrate quantisation with, from the validation split: never from the test set."""
RUNNING_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyHandover:
    """A policy: ``samples`` are observations it met while growing, and running ones."""

    module: nn.Module
    samples: NDArray[np.float32]
    blueprints: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What an export needs; ``policy`` None where the network alone is handed over.

    ``trunk``: K+1 pieces for K slots, the last the head; ``seeds``: (slot, blueprint, module) in slot order, residual
    inside, blending factor 1, as their blueprint deploys them. All modules are in eval mode and take float32 that is
    scaled already; ``calibration`` and ``test_inputs`` are raw samples, (N, *input.shape). ``contributions``: accuracy
    each seed adds, by slot, fraction.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    input: InputSpec
    trunk: list[nn.Module]
    seeds: list[tuple[int, str, nn.Module]]
    calibration: NDArray[np.float32]
    test_inputs: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    policy: PolicyHandover | None = None
    contributions: Mapping[int, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def deployable(task: Task) -> bool:
    """Whether networks of a task can be exported."""
    return _obstacle(task) is None


def _obstacle(task: Task) -> str | None:
    if task.test.y.ndim != 1:
        return "asks for an answer at every time step; what is exported gives one answer a sample"
    if task.metric == "recall@1":
        return "asks for a place in a gallery of captions; what is exported takes signals and images, no words"
    return None


def pieces(run: Run) -> Handover:
    """Take a run apart.

    Raises IncompatibleError when its task has an answer at every time step or is about captions, IntegrityError when
    its tensors don't fit its record.
    """
    record, task = run.record, task_of_run(run.record)
    obstacle = _obstacle(task)
    if obstacle is not None:
        raise IncompatibleError(
            f"task '{task.name}' {obstacle}",
            hint="such a network can be trained and evaluated here, not deployed",
        )
    running = simulate(RUNNING_SAMPLES, record.slots, seed=record.policy_samples_seed).observation
    return replace(
        network_pieces(run.grown_network(), task, name=f"{record.task}-{record.host}", seed=record.policy_samples_seed),
        policy=PolicyHandover(
            module=_frozen(run.policy_network()),
            samples=np.concatenate([run.observations.numpy(), running]).astype(np.float32),
            blueprints=record.blueprints,
        ),
        task=record.task,
        contributions={seed.slot: seed.contribution for seed in record.seeds},
        provenance={
            "task_sha256": record.task_sha256,
            "seed": record.seed,
            "growth": record.growth,
            "test_accuracy": record.results["grown"].test_accuracy,
            "contributions": {str(seed.slot): seed.contribution for seed in record.seeds},
            "versions": dict(record.versions),
        },
    )


def network_pieces(network: GrownNetwork, task: Task, *, name: str, seed: int) -> Handover:
    """Take a committed network apart, without a policy; ``seed`` draws what calibrates it."""
    validation = task.validation
    chosen = np.random.default_rng(seed).permutation(len(validation))[:CALIBRATION]
    planted = [(slot, one) for slot, one in enumerate(network.seeds[: network.host.slots]) if one is not None]
    return Handover(
        name=name,
        task=task.name,
        classes=task.classes,
        input=task.input,
        trunk=[_frozen(piece) for piece in network.trunk],
        seeds=[(slot, one.blueprint.name, _deployed(one)) for slot, one in planted],
        calibration=validation.x[np.sort(chosen)],
        test_inputs=task.test.x,
        test_labels=task.test.y,
    )


def _deployed(seed: Seed) -> nn.Module:
    return _frozen(seed.blueprint.deploy(seed.module))


def _frozen(module: nn.Module) -> nn.Module:
    module.eval()
    for param in module.parameters():
        param.requires_grad_(False)
    return module
