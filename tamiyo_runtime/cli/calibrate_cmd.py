"""``tamiyo profile probes`` and ``tamiyo profile calibrate``: fit a profile to runs measured on the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from device_profiles.calibrate import Calibration, Prediction


def probes(
    *,
    out: Annotated[Path, typer.Option(help="where to write the kit")] = Path("probes.tamiyo-probes"),
    seed: Annotated[int, typer.Option(help="sizes of the graphs are drawn from this", min=0)] = 0,
    key: Annotated[Path | None, typer.Option(help="sign with this private key, not your own")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file of --out")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Write a kit of small graphs to be timed on a board. The same seed gives the same file.

    Example: tamiyo profile probes --out probes.tamiyo-probes
    """
    from exporters.probes import write_probes
    from tamiyo_runtime.cli.render import emit_json, progress, say
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.signing import SigningKey

    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already", hint="pass --overwrite to replace it")
    signer = SigningKey.load(key) if key else SigningKey.default()
    with progress("drawing graphs") as bar:
        kit = write_probes(out, signer, seed=seed, overwrite=overwrite)
        bar.advance(len(kit.probes))
    size = out.stat().st_size
    if as_json:
        emit_json({"file": str(out), "graphs": len(kit.probes), "seed": seed, "size_bytes": size})
        return
    families = dict.fromkeys(probe.family for probe in kit.probes)
    say(
        f"{out}: {len(kit.probes)} graphs of {len(families)} families, {size / 1e6:.1f} MB, by {signer.public.short_id}"
    )
    say(f"Next, on the board:  tamiyo measure {out.name} --out runs.json")


def calibrate(
    profile: Annotated[str, typer.Argument(help="The profile to start from: an id, or a .toml file.")],
    runs: Annotated[list[Path], typer.Argument(help="Files of runs, as `tamiyo measure` writes them.")],
    *,
    out: Annotated[Path | None, typer.Option(help="write the fitted profile here, with a picture beside it")] = None,
    identity: Annotated[str | None, typer.Option("--id", help="give the fitted profile another id")] = None,
    seed: Annotated[int, typer.Option(help="which graphs are kept out of the fit", min=0)] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="fit and report, write nothing")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file of --out")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Fit the rates of a CPU's profile to measured runs, and check it on graphs that were kept out.

    Example: tamiyo profile calibrate raspberry-pi-4 runs.json --out my-pi.toml
    """
    from device_profiles.calibrate import calibrate as fit
    from device_profiles.calibrate_file import rewrite
    from device_profiles.calibrate_picture import picture
    from device_profiles.loader import SUFFIX, load_profile, read_profile
    from device_profiles.measured import samples_of
    from tamiyo_runtime.cli.render import emit_json, progress, say
    from tamiyo_runtime.contracts.errors import InputError, UsageError
    from tamiyo_runtime.contracts.plan import Precision
    from tamiyo_runtime.contracts.runs import Runs
    from tamiyo_runtime.files import read_bytes, write_atomic

    if out is None and not dry_run:
        raise UsageError("where to write the fitted profile?", hint="pass --out my-board.toml, or --dry-run")
    if out is not None and out.suffix != SUFFIX:
        raise InputError(f"{out} does not end in {SUFFIX}", hint=f"profiles do: {out.with_suffix(SUFFIX)}")
    if out is not None and out.exists() and not overwrite and not dry_run:
        raise InputError(f"{out} exists already", hint="pass --overwrite to replace it")
    known = load_profile(profile)
    files = {
        path.name if len({p.name for p in runs}) == len(runs) else str(path): Runs.from_json(
            read_bytes(path, limit_bytes=16 << 20, what="file of runs"), path=str(path)
        )
        for path in dict.fromkeys(runs)
    }
    needed = [p for p in Precision if any(_precision_of(variant) == p for variant in known.export.variants)]
    samples, machine = samples_of(files, needed=needed)
    with progress("calibrating") as bar:
        result = fit(known, samples, seed=seed, step=lambda what: bar.advance(0, remark=what))
        bar.show("fitted")
    when = max(item.when for item in files.values())
    text = rewrite(read_profile(profile), result, machine=machine, when=when, identity=identity)
    if out is not None and not dry_run:
        write_atomic(out, text, overwrite=overwrite)
        svg = picture(result, title=f"{identity or known.id} on {machine.device}")
        write_atomic(out.with_suffix(".svg"), svg.encode(), overwrite=True)
    if as_json:
        emit_json({**_as_data(result), "machine": machine.device, "written": None if dry_run else str(out)})
        return
    _show(result)
    if out is not None and not dry_run:
        say(f"\nwritten: {out} and {out.with_suffix('.svg')}")
        say(f"Next:  tamiyo profile show {out} | tamiyo export RUN --target {out}")


def _precision_of(variant: str) -> str:
    return "int8" if "int8" in variant else "float32"


def _show(result: Calibration) -> None:
    from tamiyo_runtime.cli.render import say, table

    table(
        ["rate, ns each", "before", "fitted", "low", "high", "runs that tell"],
        [
            [r.name, *(f"{value * 1e3:.4g}" for value in (r.before, r.value, r.low, r.high)), r.support]
            for r in sorted(result.rates.values(), key=lambda rate: rate.name)
        ],
    )
    weak = [rate.name for rate in result.rates.values() if not rate.certain]
    if weak:
        say(f"\nfew runs tell of: {', '.join(sorted(weak))}")
    lanes = ", ".join(f"{name} {depth} x {width}" for name, (depth, width) in sorted(result.lanes.items()))
    say(f"vector sizes, depth x width: {lanes}\n")
    families = dict.fromkeys(item.family for item in result.held_out)
    table(
        ["kept out", "graphs", "inside", "mean error", "worst"],
        [
            _row(family, [item for item in result.held_out if item.family == family], result.relative_error)
            for family in families
        ],
    )
    worst = result.worst
    say(
        f"\n90 % interval: a factor of {1 + result.relative_error:.3g}; {result.coverage:.1%} of "
        f"{len(result.held_out)} graphs kept out lie in it"
    )
    say(
        f"mean error {result.mean_error:.1%}, worst {worst.error:.1%}: {worst.id}, "
        f"measured {worst.measured_us:.4g} us, predicted {worst.predicted_us:.4g} us"
    )


def _row(name: str, items: Sequence[Prediction], error: float) -> list[object]:
    inside = sum(item.ratio <= 1 + error for item in items)
    mean = sum(item.error for item in items) / len(items)
    return [name, len(items), inside, f"{mean:.1%}", f"{max(item.error for item in items):.1%}"]


def _as_data(result: Calibration) -> dict[str, Any]:
    return {
        "relative_error": result.relative_error,
        "coverage": result.coverage,
        "held_out": len(result.held_out),
        "mean_error": result.mean_error,
        "worst_error": result.worst.error,
        "vectors": {str(precision): list(lanes) for precision, lanes in result.lanes.items()},
        "rates_us": {
            rate.name: {
                "value": rate.value,
                "low": rate.low,
                "high": rate.high,
                "before": rate.before,
                "support": rate.support,
            }
            for rate in result.rates.values()
        },
        "graphs": [
            {
                "id": item.id,
                "measured_us": item.measured_us,
                "predicted_us": item.predicted_us,
                "held_out": item.held_out,
            }
            for item in result.predictions
        ],
    }
