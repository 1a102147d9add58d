"""The report of a bundle as one HTML page: a pure function of the bundle, so of its signed manifest and `report.json`.

What an older export, or one for another target, did not record is said to be not recorded. All text is a bundle's own,
so untrusted: the page and the drawings escape it, and the page forbids scripts and loading anything.
"""

from __future__ import annotations

from exporters.figures import NOT_RECORDED, facts, wilson
from exporters.html import costs, quality
from exporters.html.charts import Piece, network
from exporters.html.page import Card, Figure, Section, Table, page
from exporters.report import SCHEMA, ExportReport, Status
from tamiyo_runtime.bundle import REPORT, Bundle
from tamiyo_runtime.contracts.document import check_schema, check_tame, load, parse_json
from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Segment
from tamiyo_runtime.contracts.units import milliseconds, percent, si, size


def render(bundle: Bundle) -> str:
    """The page.

    Raises IntegrityError when `report.json` breaks its contract, SchemaVersionError when a later tamiyo wrote it.
    """
    manifest, report = bundle.manifest, read_report(bundle)
    lead = (
        f"Compiled for {manifest.target} ({_profile(manifest)}), version {manifest.version}, signed by "
        f"{bundle.signer.short_id}. Accuracies are measured by running these graphs; every other figure carries the "
        "word for where it comes from, and its interval where it is an estimate."
    )
    if report is not None and report.smoke:
        lead = f"Made with --smoke, of a few samples, to try the path: its accuracies say nothing. {lead}"
    sections = [
        _network(manifest, report),
        *_notes(report),
        *costs.sections(manifest, report),
        *quality.sections(manifest, report),
        _steps(report),
        _provenance(bundle),
    ]
    return page(f"{manifest.name} for {manifest.target}", lead, _cards(bundle, report), sections)


def read_report(bundle: Bundle) -> ExportReport | None:
    """What the export recorded; None in a bundle without it. Raises as `render` does."""
    if REPORT not in bundle.names:
        return None
    try:
        document = parse_json(bundle.read(REPORT), path=REPORT, limit_bytes=32 << 20)
        check_tame(document, path=REPORT)
        if isinstance(document, dict):
            check_schema(str(document.get("schema")), SCHEMA, path=f"{REPORT}.schema")
        return load(ExportReport, document, path=REPORT)
    except SchemaVersionError:
        raise
    except SchemaError as exc:
        raise IntegrityError(f"{bundle.name}: {exc.message}", hint="export the bundle again") from exc


def _cards(bundle: Bundle, report: ExportReport | None) -> list[Card]:
    variant = bundle.manifest.variants[0]
    cheapest, samples = variant.runnables[0], report.test_samples if report else 0
    most = max(variant.runnables, key=lambda item: (item.configuration.count("1"), item.configuration))
    accuracy, told = NOT_RECORDED, "measured"
    if most.accuracy is not None:
        accuracy = percent(most.accuracy)
        low, high = wilson(most.accuracy, samples)
        if samples:
            told = f"{100 * low:.1f} to {100 * high:.1f} at 95 %, measured on {samples} test samples"
    source = cheapest.cost.latency_ms.source.value
    return [
        Card(accuracy, f"accuracy with all seeds ({told})"),
        Card(milliseconds(cheapest.cost.latency_ms.value), f"an inference of the cheapest configuration ({source})"),
        Card(milliseconds(most.cost.latency_ms.value), f"an inference with all seeds ({source})"),
        Card(str(len(variant.runnables)), f"configurations in {variant.id}, switched while running"),
        Card(size(bundle.size_bytes), f"the signed file, with {len(bundle.names)} parts"),
    ]


def _notes(report: ExportReport | None) -> list[Section]:
    notes = report.notes if report else ()
    return [Section("What to know about the figures", "", (Table([""], [[note] for note in notes]),))] if notes else []


def _profile(manifest: Manifest) -> str:
    return f"profile {manifest.profile.id} r{manifest.profile.revision}"


def _network(manifest: Manifest, report: ExportReport | None) -> Section:
    pieces = [Piece(name=_name(item), slot=item.slot, lines=_lines(item)) for item in manifest.plan.segments]
    empty = [str(slot) for slot in range(manifest.plan.slots) if slot not in manifest.plan.seeded_slots]
    rows = [
        [
            item.name,
            item.kind.value,
            "" if item.slot is None else str(item.slot),
            item.blueprint or "",
            f"{item.params:,}",
            f"{item.macs:,}",
        ]
        for item in manifest.plan.segments
    ]
    groups = (
        [" + ".join(f"slot {slot}" for slot in group) for group in report.groups if len(group) > 1] if report else []
    )
    shape = " x ".join(map(str, manifest.input.shape))
    return Section(
        "The network",
        f"Input {shape} ({manifest.input.layout}), {len(manifest.classes)} classes, task {manifest.task}. The trunk "
        "runs always; each seed may be left out, and a configuration such as c10 says slot by slot which run.",
        (
            Figure(network(pieces), f"Green: seeds in their slots. Slots left empty: {', '.join(empty) or 'none'}."),
            Table(["part", "kind", "slot", "blueprint", "parameters", "MACs"], rows, fold="all parts in running order"),
        ),
        f"Switched together: {', '.join(groups)}." if groups else "",
    )


def _name(item: Segment) -> str:
    return item.blueprint or item.name if item.slot is not None else item.name


def _lines(item: Segment) -> tuple[str, ...]:
    return (f"{si(item.params, '').strip()} params", f"{si(item.macs, '').strip()} MACs")


_STATUS = {Status.OK: "ok", Status.WARN: "warning", Status.SKIP: "skipped", Status.FAIL: "failed"}


def _steps(report: ExportReport | None) -> Section:
    if report is None:
        return Section("Steps of the export", f"{REPORT}: {NOT_RECORDED}.")
    rows = [[str(step.number), step.name, _STATUS[step.status], step.message] for step in report.steps]
    details = [[step.name, line] for step in report.steps for line in step.details]
    parts = [Table(["", "step", "", "outcome"], rows)]
    if details:
        parts.append(Table(["step", "detail"], details, fold=f"{len(details)} details"))
    return Section("Steps of the export", "", parts)


def _provenance(bundle: Bundle) -> Section:
    manifest = bundle.manifest
    rows = [
        ["manifest, sha256", bundle.digest],
        ["signer, sha256 of the public key", bundle.signer.id],
        ["profile, sha256", manifest.profile.sha256],
        *(list(fact) for fact in facts(manifest.provenance)),
    ]
    files = [[name, f"{manifest.files[name].size_bytes:,}", manifest.files[name].sha256] for name in bundle.names]
    return Section(
        "Provenance and hashes",
        "Everything below is in the signed manifest.",
        (Table(["", ""], rows), Table(["file", "bytes", "sha256"], files, fold=f"{len(files)} files")),
    )
