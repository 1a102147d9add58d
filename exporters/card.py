"""The model card of a bundle: what it is, how good, how fast, how well that is known, and what it is not for.

Markdown, a pure function of manifest and report. Every figure stands beside the word that says where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from exporters.figures import NOT_RECORDED, accuracy_text, energy_text, facts, latency_text, share_text
from exporters.report import ExportReport, KernelReport, VariantReport
from tamiyo_runtime.bundle import entry_of
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.units import factor, milliseconds, percent, plural, size

CARD = "MODEL_CARD.md"


def card(manifest: Manifest, report: ExportReport, files: Mapping[str, bytes]) -> bytes:
    """``MODEL_CARD.md`` of a bundle; ``files`` are those whose hashes it lists."""
    parts = [
        _head(manifest, report),
        _network(manifest),
        *(_variant(variant, report) for variant in report.variants),
        _cost_model(manifest, report),
        _quantisation(report),
        _limits(manifest, report),
        _provenance(manifest),
        _hashes(files),
    ]
    return ("\n\n".join(part.strip() for part in parts) + "\n").encode()


def _head(manifest: Manifest, report: ExportReport) -> str:
    shape = " x ".join(map(str, manifest.input.shape))
    smoke = "\n\n**Made with --smoke, of a few samples, to try the path: its accuracies say nothing.**"
    rows = [
        ("task", manifest.task),
        ("classes", f"{len(manifest.classes)}: {', '.join(manifest.classes)}"),
        ("input", f"{shape} ({manifest.input.layout}), raw {manifest.input.raw_low:g} to {manifest.input.raw_high:g}"),
        ("target", f"{manifest.target}, profile {report.profile}"),
        ("version", str(manifest.version)),
        ("test set", f"{report.test_samples} samples"),
        ("accuracy floor", _floor(report)),
        ("watched by", _monitors(manifest)),
        ("licence of the data", str(_data_licence(manifest))),
    ]
    seeds = len(manifest.plan.seeded_slots)
    parts = f" that runs with or without each of its {plural(seeds, 'grown part')} (seeds)," if seeds else ","
    return (
        f"# {_text(manifest.name)}\n\nA classifier{parts} compiled for {_text(manifest.target)}."
        f"{smoke if report.smoke else ''}\n\n{_table(('', ''), rows)}"
    )


def _floor(report: ExportReport) -> str:
    if report.accuracy_floor is None:
        return "none was demanded"
    return f"{percent(report.accuracy_floor)} (demanded of the network with all seeds)"


def _monitors(manifest: Manifest) -> str:
    """What the runtime compares the field with; its monitors say when that no longer fits."""
    if manifest.reference is None:
        return "no monitors: the bundle holds no reference"
    reference = manifest.reference
    return f"monitors of input and certainty, against {plural(reference.samples, 'sample')} ({reference.source})"


def _data_licence(manifest: Manifest) -> str:
    for name in ("data_licence", "licence"):
        if name in manifest.provenance:
            return str(manifest.provenance[name])
    return NOT_RECORDED


def _network(manifest: Manifest) -> str:
    rows = [
        (
            item.name,
            item.kind.value,
            "" if item.slot is None else str(item.slot),
            item.blueprint or "",
            str(item.params),
        )
        for item in manifest.plan.segments
    ]
    text = "Parts in running order. Configuration `c10` runs the seed of slot 0 and leaves out that of slot 1."
    return f"## Network\n\n{text}\n\n{_table(('part', 'kind', 'slot', 'blueprint', 'parameters'), rows)}"


def _variant(variant: VariantReport, report: ExportReport) -> str:
    rows = [
        (
            item.configuration,
            accuracy_text(item.accuracy, report.test_samples),
            share_text(item.torch_accuracy),
            latency_text(item.cost.latency_ms),
            energy_text(item.cost.energy_uj),
            f"{item.cost.latency_ms.source.value}, {item.cost.energy_uj.source.value}",
            size(item.cost.peak_memory_bytes),
        )
        for item in variant.runnables
    ]
    head = (
        "configuration",
        "accuracy (measured)",
        f"{report.reference} (measured)",
        "latency",
        "energy",
        "cost is",
        "memory",
    )
    text = (
        f"{variant.format.value}, {variant.precision.value}, {variant.layout.value}, {size(variant.size_bytes)}. "
        "Accuracy: share of the test set that these graphs, run by the real interpreter, get right, with its 95 % "
        "Wilson interval. Latency and energy: one inference, batch 1, one thread, with the profile's 90 % interval."
    )
    return f"## {_text(variant.id)}\n\n{text}\n\n{_table(head, rows)}"


def _cost_model(manifest: Manifest, report: ExportReport) -> str:
    profile = manifest.profile
    checks = _bullets(report.cost_checks) or f"- what the model was checked against on this profile: {NOT_RECORDED}"
    return (
        "## How well the costs are known\n\n"
        f"Profile {_text(report.profile)}, sha256 `{report.profile_sha256}`: {profile.active_mw:g} mW while "
        f"computing, {profile.idle_mw:g} mW while waiting; the truth lies {factor(profile.relative_error)} "
        "from an estimate of latency in nine of ten cases.\n\n"
        f"{checks}"
    )


def _quantisation(report: ExportReport) -> str:
    whole = [item for item in report.variants if item.precision is Precision.INT8]
    if not whole:
        return "## Quantisation\n\nNo variant is quantised."
    lines = []
    for variant in whole:
        full = max(variant.runnables, key=lambda item: item.configuration.count("1"))
        noise = NOT_RECORDED if full.sqnr_db is None else f"{full.sqnr_db:.1f} dB"
        lines.append(
            f"{variant.id}: static int8; with all seeds, signal to quantisation noise of the logits {noise} "
            f"(measured), agreement with {report.reference} {percent(full.agreement)} (measured)"
        )
    kept = [item.part for item in report.sensitivity if item.kept_float]
    nothing = "nothing" if report.sensitivity else NOT_RECORDED
    lines.append(f"kept in float for accuracy: {', '.join(kept) or nothing}")
    lines += [f"{item.variant} {item.configuration} on {item.kernels}: {_kernels(item)}" for item in report.kernels]
    return f"## Quantisation\n\n{_bullets(lines)}"


def _kernels(report: KernelReport) -> str:
    if report.worst_lsb is None:
        return report.problem or NOT_RECORDED
    return f"within {report.worst_lsb} steps over {report.samples} samples (measured)"


def _limits(manifest: Manifest, report: ExportReport) -> str:
    budget = manifest.budget
    deadline = "none" if budget.latency_ms is None else milliseconds(budget.latency_ms)
    lines = [
        f"Meant for: {manifest.task} with input as described above, on {manifest.target}, under the governor of "
        f"tamiyo's runtime (deadline {deadline}).",
        "Not meant for: inputs of another kind or scale, classes not listed, or decisions about people, health or "
        "safety; nothing of that was tested.",
        "Accuracy holds for data like the test set. Nothing was measured for shifted, damaged or adversarial input.",
        "An answer is the largest logit; the logits are not calibrated probabilities.",
    ]
    lines += report.notes
    if any(item.cost.latency_ms.source.value != "measured" for item in report.variants[0].runnables):
        lines.append("Latency and energy are estimates for the profile, not measured on a device of yours.")
    return f"## Use and limits\n\n{_bullets(lines)}"


def _provenance(manifest: Manifest) -> str:
    rows = facts(manifest.provenance) or [("provenance", NOT_RECORDED)]
    return f"## Provenance and tools\n\n{_table(('', ''), rows)}\n\nAll tools with licences: `sbom.cdx.json`."


def _hashes(files: Mapping[str, bytes]) -> str:
    rows = [(f"`{name}`", str(len(data)), f"`{entry_of(data).sha256}`") for name, data in sorted(files.items())]
    return f"## Files\n\n{_table(('file', 'bytes', 'sha256'), rows)}"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(_text(cell) for cell in line)} |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _text(text: str) -> str:
    """Text that stays text in Markdown: no markup of its own, no HTML, one line."""
    for char, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(char, safe)
    return text
