"""``tamiyo measure``: time a probe kit, or every configuration of a bundle, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tamiyo_runtime.contracts.runs import Runs
    from tamiyo_runtime.measure import Subject


def measure(
    subject: Annotated[Path, typer.Argument(help="A probe kit, or a bundle.", metavar="KIT|BUNDLE")],
    *,
    out: Annotated[Path | None, typer.Option(help="write the runs to this file, as JSON")] = None,
    seconds: Annotated[float, typer.Option(help="time to spend; more rounds, steadier medians")] = 60.0,
    variant: Annotated[str | None, typer.Option(help="of a bundle: this variant, not the preferred one")] = None,
    precision: Annotated[str | None, typer.Option(help="of a kit: int8 or float32 only")] = None,
    device: Annotated[str | None, typer.Option(help="what to call this machine; else its own name")] = None,
    key: Annotated[list[Path] | None, typer.Option(help="trust this public key, and no other")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file of --out")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the runs as JSON")] = False,
) -> None:
    """Run every graph as the runtime does, one thread, in shuffled rounds; report median, p90 and p99.9.

    Example: tamiyo measure probes.tamiyo-probes --out runs.json
    """
    from tamiyo_runtime.cli.render import emit_json, hushed, progress, say
    from tamiyo_runtime.cli.trust import trust_of
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.files import write_atomic
    from tamiyo_runtime.measure import runs_of, this_machine, time_all

    if out is not None and out.exists() and not overwrite:
        raise InputError(f"{out} exists already", hint="pass --overwrite to replace it")
    if not 0 < seconds <= 86_400:
        raise InputError(f"--seconds {seconds:g} is not in 0 to 86400", hint="60 is enough on a quiet machine")
    with hushed():
        subjects, reference, interpreter, kind, digest, profile = _load(subject, trust_of(key), variant, precision)
    with progress(f"timing {len(subjects)} graphs", total=100) as bar:

        def tick(rounds: int, share: float) -> None:
            bar.advance(int(100 * share) - bar.done, remark=f"{rounds} rounds")

        time_all(subjects, reference, seconds=seconds, tick=tick)
    machine = this_machine(interpreter, device)
    runs = runs_of(subjects, reference, subject=kind, digest=digest, machine=machine)
    if out is not None:
        write_atomic(out, runs.to_json() + b"\n", overwrite=overwrite)
    if as_json:
        emit_json(dump(runs))
        return
    _show(runs, profile)
    if out is not None and kind == "probes":
        say(f"\nNext:  tamiyo profile calibrate PROFILE {out} --out my-board.toml")


def _load(
    path: Path, trusted: object, variant: str | None, precision: str | None
) -> tuple[list[Subject], str, str, str, str, str]:
    """Subjects, the reference among them, the interpreter, what kind of file it was, its digest, whose estimates."""
    from tamiyo_runtime.admission import admit_once
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError
    from tamiyo_runtime.contracts.plan import Precision
    from tamiyo_runtime.measure import interpreter_of_kits, subjects_of_bundle, subjects_of_kit
    from tamiyo_runtime.probekit import is_kit, open_kit
    from tamiyo_runtime.signing import Trust

    assert isinstance(trusted, Trust)
    if precision is not None and precision not in list(Precision):
        raise UnknownNameError("precision", precision, list(Precision))
    if is_kit(path):
        if variant is not None:
            raise UsageError("a probe kit has no variants", hint="pass --precision int8 or float32")
        interpreter = interpreter_of_kits()
        opened = open_kit(path, trusted=trusted)
        only = None if precision is None else Precision(precision)
        loaded = subjects_of_kit(opened, interpreter=interpreter, precision=only)
        return loaded, opened.kit.reference, interpreter, "probes", opened.digest, ""
    if precision is not None:
        raise UsageError("a bundle is measured by variant", hint="pass --variant; tamiyo inspect lists them")
    bundle = Bundle.open(path, trusted=trusted)
    admit_once(bundle, path, trusted=trusted)
    subjects, interpreter = subjects_of_bundle(bundle, variant)
    profile = bundle.manifest.profile
    return subjects, subjects[0].id, interpreter, "bundle", bundle.digest, f"{profile.id} r{profile.revision}"


def _show(runs: Runs, profile: str) -> None:
    from statistics import median

    from tamiyo_runtime.cli.render import say, table

    machine, reference = runs.machine, runs.reference
    say(f"{machine.device}: {machine.cpu}, {machine.system}, {machine.interpreter} {machine.interpreter_version}")
    say(f"measured {runs.when}, {runs.threads} thread, {min(run.rounds for run in runs.runs)} rounds")
    say(
        f"reference {reference.id}: {reference.p50_us:g} us; between rounds {reference.low_us:g} to "
        f"{reference.high_us:g} us (5 to 95 %)"
    )
    say()
    if runs.subject == "bundle":
        table(
            ["configuration", "p50 us", "p90 us", "p99.9 us", "graphs", "estimate us", "measured / estimate"],
            [
                [
                    run.id,
                    f"{run.p50_us:.1f}",
                    f"{run.p90_us:.1f}",
                    f"{run.p999_us:.1f}",
                    run.graphs,
                    f"{run.estimate_us:.1f}" if run.estimate_us else None,
                    f"{run.p50_us / run.estimate_us:.2f}" if run.estimate_us else None,
                ]
                for run in runs.runs
            ],
        )
        say(f"\nestimates are of {profile}, for which the bundle was made; the times are of this machine")
        return
    families = dict.fromkeys((run.family, run.precision) for run in runs.runs)
    rows = []
    for family, precision in families:
        own = [run for run in runs.runs if (run.family, run.precision) == (family, precision)]
        spread = median((run.round_high_us - run.round_low_us) / run.p50_us for run in own)
        times = [run.p50_us for run in own]
        rows.append([family, precision, len(own), f"{min(times):.1f}", f"{max(times):.1f}", f"{spread:.1%}"])
    table(["family", "precision", "graphs", "least p50 us", "most", "spread of rounds"], rows)
