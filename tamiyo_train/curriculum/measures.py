"""What can be asked of a stage, by name.

A measure of one kind looks at one grown network and gives a number; the examination takes it of every network. A
measure of the other kind looks at the stage as a whole: a campaign of faults, a price on its device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from simulators.delivery import deliver
from tamiyo_runtime.contracts.cost import Cost, Estimate
from tamiyo_runtime.contracts.errors import IncompatibleError, IntegrityError, MissingDependencyError
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_runtime.safeguards import check_safeguards
from tamiyo_train.audit import Entry, verify
from tamiyo_train.curriculum.conditions import Evidence, of_computed, of_rate, of_values, unmeasured
from tamiyo_train.curriculum.pupil import Pupil, success_of
from tamiyo_train.evaluation import score, without
from tamiyo_train.faults.campaign import run_campaign
from tamiyo_train.handover import Handover
from tamiyo_train.measures import clean_digits, of_corrupted_digits
from tamiyo_train.pool import Workers
from tamiyo_train.pricing import Pricer
from tamiyo_train.robustness import attacked
from tamiyo_train.seed import blend, evaluating
from tamiyo_train.tasks.language import ENTROPY
from tamiyo_train.telemetry.reading import drift_of
from tamiyo_train.worth import worth_of

PROBES = 256
"""Samples of the gate split that drift is measured on: the first ones, the same for every network."""
UTILISATION = 0.01
"""Of a seed's share of the parameters: the least relative loss increase that earns it its place."""
FAULTS = 299
"""Without a miss they show a rate above .99 at 95 % confidence."""
LOSSES = (0.0, 0.05, 0.15)
"""Shares of frames, and of acks, that never arrive."""
LOSSY_DAYS = 3
"""Simulated at each of them."""
INT8_ACCURACY = "int8 accuracy"
BARE_HOST, CLEAN_LOSS = "bare host", "clean loss"
AGAINST_BARE_HOST = frozenset({BARE_HOST, CLEAN_LOSS})
"""Measures that need the host trained as long without growing."""
_Z_99 = 2.3263
"""99th percentile of the standard normal distribution."""

Judge = Callable[[Handover, str], float]
"""Deploys a network for a profile and gives the share of the test samples that it then gets right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A stage's networks, and what a measure of the whole stage may use beside them.

    ``judge``: of networks as they are deployed; None where nobody can. ``report`` hears how far a measure has come.
    """

    pupils: Sequence[Pupil]
    seed: int
    workers: Workers
    faults: int = FAULTS
    judge: Judge | None = None
    report: Callable[[int, int], None] | None = None


networks: Registry[Callable[[Pupil], float]] = Registry("measures-of-networks", noun="measure of a network")
wholes: Registry[Callable[[Examined], Evidence]] = Registry("measures-of-stages", noun="measure of a stage")


def success(pupil: Pupil) -> float:
    """The task's own metric on the test set."""
    return success_of(pupil.grown.result)


for _name in ("accuracy", "macro-auc", "bits/char", "purity", "recall@1"):
    networks.register(_name)(success)


@networks.register(BARE_HOST)
def bare_host(pupil: Pupil) -> float:
    """The same metric of the host trained as long without growing."""
    if pupil.ungrown is None:
        raise ValueError("the bare host was not trained beside it")
    return success_of(pupil.ungrown)


@networks.register("drift")
def drift(pupil: Pupil) -> float:
    """Interface drift of the worst seed: 95th percentile over the probes of 1 - cosine, slot with against without."""
    network, probes = pupil.network, pupil.data.gate.x[:PROBES]
    worst = 0.0
    with evaluating(network):
        alphas = network.alphas()
        for slot, seed in enumerate(network.seeds):
            if seed is not None:
                entering = network.entering(probes, alphas, slot)
                worst = max(worst, drift_of(entering, blend(seed.module, entering, 1.0))[1])
    return worst


@networks.register("useful seeds")
def useful_seeds(pupil: Pupil) -> float:
    """Share of the seeds that pull their weight on the test set; 1 where nothing was grown.

    A seed does when leaving it out raises the loss with a lower 95 % bound above 0, and relative to the loss by a
    hundredth of the seed's share of the parameters or more.
    """
    network, split = pupil.network, pupil.data.test
    seeds, params = pupil.grown.seeds, pupil.grown.result.params
    present = score(network, split)
    worth = [
        worth_of(
            present,
            score(network, split, without(network.alphas(), seed.slot)),
            share=seed.params / params,
            confidence=pupil.config.final.confidence,
        )
        for seed in seeds
    ]
    return sum(own.earns(UTILISATION) for own in worth) / len(seeds) if seeds else 1.0


@networks.register("attack drop")
def attack_drop(pupil: Pupil) -> float:
    """Share of the right answers on the test set that FGSM with epsilon .03 makes wrong."""
    return attacked(pupil.network, pupil.data.test).drop


@networks.register("denoise")
def denoise(pupil: Pupil) -> float:
    """Accuracy on corrupted over that on clean digits, averaged over the corruptions; on ``digits-c``."""
    return of_corrupted_digits(pupil.network, pupil.data.test).score


@networks.register(CLEAN_LOSS)
def clean_loss(pupil: Pupil) -> float:
    """Accuracy on clean test digits of the host trained as long without growing, minus the grown network's; on
    ``digits-c``."""
    if pupil.bare is None:
        raise ValueError("the bare host was not trained beside it")
    clean = clean_digits()
    return score(pupil.bare, clean).accuracy - score(pupil.network, clean).accuracy


@networks.register("bits above entropy")
def bits_above_entropy(pupil: Pupil) -> float:
    """What a letter of the test set costs the network above the language's entropy, bits; on ``language``."""
    return success(pupil) - ENTROPY


@networks.register("alerts")
def alerts(pupil: Pupil) -> float:
    """Checks of integrity and range that failed while it grew and on what growing left.

    The audit chain; every weight being a number; and every reading of a slot's telemetry, a window and slot each, in
    which a figure was no number or beyond the range that the layout states for it.
    """
    failed = 0
    try:
        verify(Entry(**entry) for entry in pupil.grown.audit)  # type: ignore[arg-type]  # as it was written
    except IntegrityError:
        failed += 1
    failed += sum(not bool(torch.isfinite(tensor).all()) for tensor in pupil.grown.network.values())
    seen = pupil.grown.experience.observation
    slots = seen[:, len(GLOBAL_FEATURES) :].reshape(len(seen), -1, len(SLOT_FEATURES))
    failed += int((slots[..., SLOT_FEATURES.index("alert")] > 0).sum())
    return float(failed)


@wholes.register("rollback")
def rollback(examined: Examined) -> Evidence:
    """Share of seeded faults that the governor takes back on the stage's task: in time, bit-equal, metric restored."""
    config = examined.pupils[0].config
    task, data = config.task, config.data
    report = run_campaign(
        faults=examined.faults,
        seed=examined.seed,
        task=task,
        data=data,
        processes=examined.workers,
        on_progress=examined.report,
    )
    note = f"faults injected while growing on {task}"
    missed = [(kind.kind, kind.faults - kind.rolled_back, kind.faults) for kind in report.by_kind()]
    told = ", ".join(f"{lost} of {all_of_it} {name}" for name, lost, all_of_it in missed if lost)
    return of_rate(report.rolled_back, len(report.trials), note=f"{note}; missed: {told}" if told else note)


@wholes.register("latency p99 (ms)")
def latency(examined: Examined) -> Evidence:
    """99th percentile of the dearest network's latency on the stage's profile, by the cost model (analytic)."""
    return _dearest(examined, _latency_p99_ms)


@wholes.register("energy (uJ)")
def energy(examined: Examined) -> Evidence:
    """Energy of one inference of the dearest network on the stage's profile, by the cost model (analytic)."""
    return _dearest(examined, lambda cost, pricer: cost.energy_uj)


@wholes.register(INT8_ACCURACY)
def int8_accuracy(examined: Examined) -> Evidence:
    """Accuracy on the test set of the int8 graphs that the networks are deployed as, run by a device's interpreter.

    Not measured where nobody can judge that, the toolchain is missing, or a network cannot be converted.
    """
    if examined.judge is None:
        return unmeasured("nobody here deploys networks")
    found = []
    for pupil in examined.pupils:
        assert pupil.config.profile is not None, "a stage has a device"
        try:
            found.append(examined.judge(pupil.handover(), pupil.config.profile))
        except (MissingDependencyError, IncompatibleError) as exc:
            return unmeasured(f"{exc.message}{f'; {exc.hint}' if exc.hint else ''}")
    before = fmean(success(pupil) for pupil in examined.pupils)
    note = f"int8 TFLite through LiteRT, {before:.1%} before quantisation; computed on the device: no loss reaches it"
    return of_values(tuple(found), note=note)


@wholes.register("safeguards")
def safeguards(examined: Examined) -> Evidence:
    """Share of the technical safeguards of 45 CFR 164.312 that hold on this installation: a self-check."""
    found = check_safeguards()
    broken = ", ".join(one.name for one in found if not one.held)
    return of_computed(sum(one.held for one in found) / len(found), note=broken or "self-check, no certificate")


@wholes.register("delivered under loss")
def delivered_under_loss(examined: Examined) -> Evidence:
    """Least share of a day's records that reach the collector over LoRa, of frames and acks lost at 0, 5 and 15 %."""
    runs = {loss: [deliver(loss=loss, seed=examined.seed + index) for index in range(LOSSY_DAYS)] for loss in LOSSES}
    worst = {loss: min(run.share for run in days) for loss, days in runs.items()}
    told = ", ".join(f"{share:.1%} at {loss:.0%}" for loss, share in worst.items())
    return of_computed(min(worst.values()), note=f"simulated LoRa, {LOSSY_DAYS} days each: {told}")


def _latency_p99_ms(cost: Cost, pricer: Pricer) -> Estimate:
    """Log-normal spread as the profile states it, cut off as there."""
    spread = math.exp(_Z_99 * pricer.jitter.get("jitter_sigma", 0.0))
    return cost.latency_ms.scaled(min(spread, pricer.jitter.get("jitter_max", math.inf)))


def _dearest(examined: Examined, figure: Callable[[Cost, Pricer], Estimate]) -> Evidence:
    profile = examined.pupils[0].config.profile
    if profile is None:
        return unmeasured("no profile says what it costs")
    pricer = Pricer(profile)
    figures = [figure(pricer.deployed(pupil.network.graphs()), pricer) for pupil in examined.pupils]
    dearest = max(figures, key=lambda estimate: estimate.high)
    note = f"int8 on {profile}, {dearest.source} estimate"
    return of_computed(dearest.value, low=dearest.low, high=dearest.high, note=note)
