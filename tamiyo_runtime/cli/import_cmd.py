"""``tamiyo import``: an existing ONNX file into a signed bundle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamiyo_runtime.cli.export_view import check_page, say_next, share, write_report

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.onnx_import import Source
    from exporters.report import ExportReport

_SAMPLES_LIMIT_BYTES = 64 << 20


def import_model(
    model: Annotated[Path, typer.Argument(help="an ONNX classifier: one float32 input, one output (1, classes)")],
    *,
    target: Annotated[str, typer.Option(help="what to import for: a target that runs ONNX, or a .toml profile")],
    calibration: Annotated[
        Path, typer.Option(help="samples: an .npz with x (N, ...) and perhaps y (N,), or a folder of .npy or .pgm")
    ],
    out: Annotated[Path | None, typer.Option(help="the bundle; default: MODEL-TARGET.tamiyo here")] = None,
    labels: Annotated[Path | None, typer.Option(help="classes of the samples, .npy (N,); else y of the .npz")] = None,
    classes: Annotated[str | None, typer.Option(help="names of the classes: a,b,c; default: 0,1,2 ...")] = None,
    input_scale: Annotated[float, typer.Option(help="input = (sample - offset) x scale")] = 1.0,
    input_offset: Annotated[float, typer.Option(help="see --input-scale")] = 0.0,
    key: Annotated[Path | None, typer.Option(help="private key to sign with; default: your development key")] = None,
    report: Annotated[
        Path | None, typer.Option(help="write the HTML report here; default: beside the bundle", metavar="FILE")
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="write no HTML report")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, write nothing")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the bundle if it exists")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Check an ONNX model, quantise it, measure it on the samples, and sign it as a bundle.

    Examples:

      tamiyo import model.onnx --target raspberry-pi-4 --calibration samples.npz --input-scale 0.00392

      tamiyo import model.onnx --target x86-64 --calibration samples/ --labels labels.npy --classes cat,dog --dry-run
    """
    from exporters import pipeline
    from exporters.backends.onnx_reading import read_onnx
    from exporters.onnx_import import check_source, check_target, import_onnx
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.errors import UsageError
    from tamiyo_runtime.signing import SigningKey

    if not 0 < input_scale < math.inf:
        raise UsageError(f"--input-scale: {input_scale} is not a number above 0", hint="1/255 is 0.00392")
    if not math.isfinite(input_offset):
        raise UsageError(f"--input-offset: {input_offset} is no finite number", hint="128 centres values of 0 to 255")
    bundle = out or Path(f"{model.stem}-{Path(target).stem}.tamiyo")
    page = None if no_report else report or bundle.with_suffix(".html")
    job = pipeline.resolve(target, bundle, budget=None, overwrite=overwrite)
    check_page(page, overwrite=overwrite)
    check_target(job)
    signer = SigningKey.load(key) if key is not None else None
    read = read_onnx(model)
    names = tuple(classes.split(",")) if classes else tuple(map(str, range(read.outputs)))
    source = _source(model, calibration, labels, names, scale=input_scale, offset=input_offset)
    check_source(source, read)
    if dry_run:
        record: dict[str, Any] = {
            "dry_run": True,
            "name": source.name,
            "target": job.target.name,
            "out": str(bundle),
            "opset": read.opset,
            "input": list(read.shape),
            "classes": list(names),
            "samples": len(source.samples),
            "labelled": source.labels is not None,
        }
        if as_json:
            emit_json(record)
            return
        for field, value in list(record.items())[1:]:
            say(f"{field:<10} {value}")
        say("dry run: nothing was written")
        return
    signer = signer or SigningKey.default()
    made = import_onnx(model, source, job, key=signer, overwrite=overwrite)
    write_report(bundle, page, signer=signer, overwrite=overwrite)
    if as_json:
        emit_json({"out": str(bundle), "page": None if page is None else str(page), **dump(made)})
    else:
        _say(made, bundle, page=page)


def _source(
    model: Path, calibration: Path, labels: Path | None, classes: tuple[str, ...], *, scale: float, offset: float
) -> Source:
    import numpy as np

    from exporters.onnx_import import Source
    from exporters.plain import spec_of
    from tamiyo_runtime.contracts.errors import InputError

    x, y = _samples(calibration)
    if labels is not None:
        y = _array(labels)
    for what, array in (("samples", x), ("labels", y)):
        if array is not None and array.dtype.kind not in "biuf":
            raise InputError(f"{what} are of type {array.dtype}, not numbers", hint="np.savez(FILE, x=..., y=...)")
    if not x.size:
        raise InputError(f"{calibration} holds no samples", hint="x has shape (N, ...)")
    if y is not None and y.dtype.kind not in "iu":
        y = y.astype(np.int64) if np.array_equal(y, np.round(y)) else np.full(1, -1)
    name = "".join(char if char.isalnum() or char in "-_." else "-" for char in model.stem)
    samples = np.ascontiguousarray(x, np.float32)
    spec = spec_of(samples, scale=scale, offset=offset)
    return Source(
        name=name, classes=classes, input=spec, samples=samples, labels=None if y is None else y.astype(np.int64)
    )


def _samples(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Samples and, where an archive has them, labels."""
    import numpy as np

    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.sources.folder import read_sample

    if path.is_dir():
        files = sorted(item for item in path.iterdir() if item.suffix in {".npy", ".pgm", ".png"})
        values = [np.asarray(read_sample(item)) for item in files]
        if not values:
            raise InputError(f"{path} holds no samples", hint="a folder of .npy, .pgm or .png files, or an .npz")
        if len({value.shape for value in values}) > 1:
            raise InputError(f"{path}: samples of different shapes", hint="all must have the model's input shape")
        return np.stack(values), None
    found = _load(path)
    if not isinstance(found, dict):
        return found, None
    if "x" not in found:
        raise InputError(
            f"{path} holds {', '.join(sorted(found)) or 'nothing'}, no x", hint="np.savez(FILE, x=..., y=...)"
        )
    return found["x"], found.get("y")


def _array(path: Path) -> NDArray[Any]:
    from tamiyo_runtime.contracts.errors import InputError

    found = _load(path)
    if isinstance(found, dict):
        raise InputError(f"{path} is an archive", hint="--labels takes an .npy file")
    array: NDArray[Any] = found
    return array


def _load(path: Path) -> Any:
    """An array, or a dict of them: what ``np.load`` makes of the file, without pickles and within a limit."""
    import io
    import zipfile

    import numpy as np

    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.files import read_bytes

    data = read_bytes(path, limit_bytes=_SAMPLES_LIMIT_BYTES, what="samples")
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                unpacked = sum(item.file_size for item in archive.infolist())
            if unpacked > _SAMPLES_LIMIT_BYTES:
                raise InputError(f"{path} unpacks to {unpacked} bytes, the limit is {_SAMPLES_LIMIT_BYTES}")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, MemoryError) as exc:
        raise InputError(f"{path} cannot be read: {exc}", hint="np.savez(FILE, x=..., y=...) or np.save") from exc


def _say(report: ExportReport, out: Path, *, page: Path | None) -> None:
    from tamiyo_runtime.cli.render import say, table
    from tamiyo_runtime.contracts.units import microjoules, milliseconds, size

    say(f"{report.name}: {report.steps[0].message}; measured on {report.test_samples} samples, for {report.profile}\n")
    table(
        ["variant", "accuracy", "agreement", "latency", "energy", "source", "size"],
        [
            [
                item.id,
                share(run.accuracy),
                share(run.agreement),
                milliseconds(run.cost.latency_ms.value),
                microjoules(run.cost.energy_uj.value),
                run.cost.latency_ms.source.value,
                size(item.size_bytes),
            ]
            for item in report.variants
            for run in item.runnables
        ],
    )
    say_next(report, out, page=page)
