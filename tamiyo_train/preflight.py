"""Everything about a run that can be wrong, found before any work: names, data, the host's fit, budget, deciders."""

from __future__ import annotations

import torch

from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.contracts.observation import check_layout
from tamiyo_train.config import TrainConfig
from tamiyo_train.data import task_of
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.jobs import GROWTH, POLICY, SCHEDULE, new_host, offered
from tamiyo_train.lifecycle import Transition
from tamiyo_train.metrics import metrics
from tamiyo_train.policy.given import GivenPolicy
from tamiyo_train.pricing import Pricer
from tamiyo_train.run import Run
from tamiyo_train.schedule import check_schedule
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.tasks import Task, stages
from tamiyo_train.tasks.base import check_samples


def check(config: TrainConfig, *, policy_from: Run | GivenPolicy | None = None) -> None:
    """Raise UnknownNameError, InputError or another UsageError for the first thing that stands in a run's way."""
    if config.data is None:
        stages.get(config.task)
    hosts.get(config.host)
    if config.growth != SCHEDULE and config.growth not in GROWTH:
        raise UnknownNameError("growth method", config.growth, GROWTH)
    if (config.growth == SCHEDULE) != bool(config.schedule):
        raise UsageError("growth by schedule needs a schedule, and nothing else has one", hint="--growth FILE.toml")
    if config.profile is not None:
        from device_profiles.loader import load_profile

        load_profile(config.profile)
    _check_nesting(config)
    task = task_of(config.task, config.data)
    metrics.get(task.metric)
    check_data(task)
    host = new_host(config, 0)
    _check_answers(config, host, task)
    if config.final.attack or config.collect.attack:
        ends = [(bound - task.input.offset) * task.input.scale for bound in (task.input.raw_low, task.input.raw_high)]
        if min(ends) < 0 or max(ends) > 1:
            raise UsageError(
                f"task '{task.name}' has inputs in [{ends[0]:g}, {ends[1]:g}]; attacks are for inputs in 0..1",
                hint="leave --attack out, or take a task of images",
            )
    if isinstance(policy_from, Run):
        check_heads(policy_from, config, host)
    if config.schedule:
        _check_schedule(config, host)


def _check_nesting(config: TrainConfig) -> None:
    """A policy decides over the slots of the host, on a device too: seeds inside seeds are for other deciders."""
    if config.collect.nested_slots:
        raise UsageError("the episodes a policy learns from have no slots inside seeds", hint="nest in the final one")
    if config.growth == POLICY and config.final.nested_slots:
        raise UsageError(
            "a policy decides over the slots of the host, not over those inside seeds",
            hint="nested slots go with --growth kasmina, random or a schedule",
        )


def _check_answers(config: TrainConfig, host: Host, task: Task) -> None:
    """Refuse a host that answers once a sample for a task that asks at every time step, and the other way round."""
    passing = torch.zeros(1, *task.input.shape)
    host.trunk.eval()
    with torch.no_grad():
        for piece in host.trunk:
            passing = piece(passing)
    wanted, given = task.test.y.shape[1:], tuple(passing.shape[2:])
    if given != wanted:
        asks = f"an answer at every of {wanted[0]} time steps" if wanted else "one answer a sample"
        raise UsageError(
            f"task '{task.name}' asks for {asks}; host '{config.host}' does not give that",
            hint="leave the host out for the task's own",
        )


def check_data(task: Task) -> None:
    """Refuse samples that are not finite, out of range or of the wrong shape, and classes without a sample."""
    for name, split in task.splits().items():
        try:
            check_samples(split.x, split.y, spec=task.input, classes=len(task.classes))
        except InputError as exc:
            raise InputError(f"task '{task.name}', split '{name}': {exc.message}", hint=exc.hint) from exc


def check_heads(run: Run, config: TrainConfig, host: Host) -> None:
    """Refuse a policy that reads another layout of observations, or whose heads are not those the host asks for."""
    check_layout("the other run's policy", observation=run.record.observation, heads=run.record.heads)
    theirs, ours = run.record.blueprints, tuple(blueprint.name for blueprint in offered(host, config.taught))
    if run.record.slots != host.slots or len(theirs) != len(ours):
        raise InputError(
            f"the policy decides over {run.record.slots} slots and {len(theirs)} blueprints (task '{run.record.task}', "
            f"host '{run.record.host}'); host '{config.host}' has {host.slots} slots and {len(ours)} blueprints",
            hint="take the policy of a run on the same host, or let this run teach one: --growth policy",
        )
    differing = [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]]
    if differing:
        raise InputError(
            f"the policy was taught '{differing[0][0]}' where host '{config.host}' offers '{differing[0][1]}'",
            hint="take the policy of a run on a host of the same domain, or let this run teach one: --growth policy",
        )


def _check_schedule(config: TrainConfig, host: Host) -> None:
    """Refuse a schedule that the episode, the host or the budget has no room for."""

    def no_history(transition: Transition) -> None:
        raise AssertionError(f"nothing grows during a check, got {transition}")

    pricer, network = Pricer(config.profile), GrownNetwork(host, no_history)
    budget = pricer.default_budget(host.layers)
    obstacles: dict[tuple[int, str], str] = {}
    for slot, place in enumerate(host.places):
        for blueprint in offered(host, config.taught):
            problem = blueprint.misfit(place)
            if problem is None and not budget.allows(pricer.price(network.graphs(extra=(slot, blueprint)))):
                problem = "the network would exceed its budget"
            if problem is not None:
                obstacles[slot, blueprint.name] = problem
    try:
        check_schedule(
            config.schedule,
            windows=config.final.decisions,
            window_steps=config.final.window,
            places=host.slots,
            nested=config.final.nested_slots,
            offered=[blueprint.name for blueprint in offered(host, config.taught)],
            obstacles=obstacles,
        )
    except SchemaError as exc:
        raise SchemaError(
            exc.path,
            exc.message.removeprefix(f"{exc.path}: "),
            hint=f"here: task '{config.task}', host '{config.host}', {config.final.decisions} windows of "
            f"{config.final.window} steps; change the schedule, or --task, --host, --steps",
        ) from exc
