"""What a finished bundle holds, for segments with gates and for whole configurations."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from device_profiles.loader import load_profile
from exporters.backends import quantiser, tflite
from exporters.backends.flatbuffer import read_model
from exporters.network import capture, scaled
from exporters.pipeline import STEPS, export
from exporters.report import Status
from exporters.request import ExportRequest
from tamiyo_runtime.bundle import REPORT, SAMPLES, VECTORS, Bundle
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.plan import Format, Layout, SegmentKind
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.monitors import Monitors
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.selftest import replay
from tamiyo_runtime.signing import Trust
from tests.unit.exporters.conftest import KEY, Exported

pytestmark = pytest.mark.toolchain

PATTERNS = {
    "c000": (False,) * 3,
    "c100": (True, False, False),
    "c001": (False, False, True),
    "c101": (True, False, True),
}


@pytest.fixture(params=["pi", "tpu"])
def made(request: pytest.FixtureRequest) -> Exported:
    exported: Exported = request.getfixturevalue(request.param)
    return exported


def test_every_step_is_told_when_it_starts_and_when_it_ends(made: Exported) -> None:
    numbers = [(event.number, event.report is not None) for event in made.events]
    assert numbers == [(i, done) for i in range(1, len(STEPS) + 1) for done in (False, True)]
    assert [event.name for event in made.events[::2]] == list(STEPS)
    assert all(step.status in {Status.OK, Status.SKIP} for step in made.report.steps)


def test_variants_come_in_the_target_s_order_with_runnables_cheapest_first(pi: Exported) -> None:
    variants = pi.bundle.manifest.variants
    assert [item.id for item in variants] == ["tflite-int8", "tflite-float", "onnx-float"]
    assert [item.layout for item in variants] == [Layout.SEGMENTS, Layout.SEGMENTS, Layout.GATED]
    for variant in variants:
        costs = [item.cost.latency_ms.value for item in variant.runnables]
        assert costs == sorted(costs)
        assert {item.configuration for item in variant.runnables} == set(PATTERNS)
    assert variants[0].runnables[0].chain == ("trunk0", "trunk1", "head")


def test_the_plan_lists_pieces_and_seams_and_leaves_the_empty_slot_out(pi: Exported) -> None:
    plan = pi.bundle.manifest.plan
    assert [item.name for item in plan.segments] == ["trunk0", "seed0", "trunk1", "seed2", "head"]
    assert [item.blueprint for item in plan.segments if item.kind is SegmentKind.SEED] == ["adapter", "squeeze-excite"]
    assert (plan.slots, plan.seeded_slots) == (3, (0, 2))
    assert [seam.slot for seam in plan.seams] == [0, 2]
    adapter = plan.segments[1]
    assert (adapter.params, adapter.macs) == (2 * 8 * 4 + 4 + 8, 2 * 36 * 8 * 4)


@pytest.mark.parametrize("variant", ["tflite-float", "onnx-float"])
@pytest.mark.parametrize("configuration", PATTERNS)
def test_float_variants_compute_what_torch_does_on_every_gate_pattern(
    pi: Exported, request_: ExportRequest, variant: str, configuration: str
) -> None:
    network = capture(request_)
    executor = Executor(pi.bundle, variant)
    samples = request_.test_inputs[:24]
    wanted = network.logits(scaled(request_, samples), PATTERNS[configuration])
    found = np.stack([executor.run(sample, configuration) for sample in samples])
    np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def test_all_sides_of_each_seam_share_one_quantisation(pi: Exported) -> None:
    graphs = pi.bundle.manifest.variants[0].graphs
    for before, seed, after in (("trunk0", "seed0", "trunk1"), ("trunk1", "seed2", "head")):
        sides = [
            graphs[before].outputs[0],
            graphs[seed].inputs[0],
            graphs[seed].outputs[0],
            graphs[after].inputs[0],
        ]
        assert {side.dtype for side in sides} == {"int8"}
        assert len({side.quantisation for side in sides}) == 1
        assert sides[0].quantisation is not None


def test_without_sharing_the_sides_of_a_seam_would_differ(request_: ExportRequest) -> None:
    """The reason for it: ranges measured piece by piece give the seed's output another scale than its input."""
    network = capture(request_)
    piece = network.seeds[0]
    entering = network.traffic(scaled(request_, request_.calibration), seed=0)
    data = tflite.convert(piece.module, piece.example, name=piece.name)
    ranges = quantiser.measure(data, tflite.channels_last_array(entering[piece.name]), name=piece.name)
    model = read_model(quantiser.quantise(data, ranges, per_tensor_dense=False, name=piece.name))
    assert model.inputs[0].quantisation != model.outputs[0].quantisation


def test_int8_graphs_hold_no_float_tensor(made: Exported) -> None:
    variant = made.bundle.manifest.variants[0]
    for graph in variant.graphs.values():
        model = read_model(made.bundle.read(graph.file))
        tensors = [t for operator in model.operators for t in (*operator.inputs, *operator.outputs)]
        assert {tensor.dtype for tensor in tensors} <= {"int8", "int32"}


def test_accuracy_of_each_runnable_is_what_running_it_gives(made: Exported, request_: ExportRequest) -> None:
    for variant in made.bundle.manifest.variants:
        executor = Executor(made.bundle, variant.id)
        for runnable in variant.runnables:
            answers = [int(executor.run(sample, runnable).argmax()) for sample in request_.test_inputs]
            assert runnable.accuracy == pytest.approx(np.mean(np.array(answers) == request_.test_labels))


def test_int8_costs_little_accuracy_and_the_report_says_how_much(made: Exported) -> None:
    report = made.report.variants[0]
    for runnable in report.runnables:
        assert runnable.sqnr_db is not None
        assert runnable.sqnr_db > 20
        assert runnable.agreement > 0.9
        assert runnable.accuracy > runnable.torch_accuracy - 0.05
    full = next(item for item in report.runnables if item.configuration == "c101")
    assert full.accuracy >= made.report.accuracy_floor == pytest.approx(full.torch_accuracy - 0.02)


def test_whole_configurations_include_host_and_full_and_switch_freely(tpu: Exported) -> None:
    (variant,) = tpu.bundle.manifest.variants
    names = {item.configuration for item in variant.runnables}
    assert {"c000", "c101"} <= names
    assert len(names) <= 4
    assert {item.id for item in tpu.bundle.manifest.configurations} == names
    assert variant.layout is Layout.WHOLE
    assert all(item.chain == (item.configuration,) for item in variant.runnables)
    assert len({graph.inputs[0].quantisation for graph in variant.graphs.values()}) == 1
    assert len({graph.outputs[0].quantisation for graph in variant.graphs.values()}) == 1


def test_a_network_of_supported_operators_is_placed_on_the_edge_tpu_as_a_whole(tpu: Exported) -> None:
    assert tpu.report.placement
    assert all(item.on_accelerator and item.reason is None for item in tpu.report.placement)
    dense = [
        operator
        for graph in tpu.bundle.manifest.variants[0].graphs.values()
        for operator in read_model(tpu.bundle.read(graph.file)).operators
        if operator.code == "FULLY_CONNECTED"
    ]
    assert dense
    assert all(len(operator.inputs[1].scales) == 1 for operator in dense)


def test_the_floor_of_the_accelerator_dominates_the_estimate(tpu: Exported) -> None:
    floor_ms = load_profile("coral-usb").value("accelerator.floor_us") * 1e-3
    for runnable in tpu.bundle.manifest.variants[0].runnables:
        assert floor_ms < runnable.cost.latency_ms.value < 1.1 * floor_ms


def test_the_policy_answers_as_in_torch_in_both_formats(made: Exported, request_: ExportRequest) -> None:
    import torch

    assert request_.policy is not None
    spec = made.bundle.manifest.policy
    assert spec is not None
    assert set(spec.graphs) == {"tflite", "onnx"}
    with torch.no_grad():
        wanted = request_.policy.module(torch.from_numpy(request_.policy.samples)).numpy()
    for form in Format:
        policy = Policy.of(made.bundle, form)
        assert policy is not None
        found = np.stack([policy.forward(row[np.newaxis]) for row in request_.policy.samples])
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_nothing_in_a_bundle_names_a_path_or_a_source_file(made: Exported) -> None:
    import exporters

    root = exporters.__path__[0].rsplit("/", 1)[0].encode()
    for name in made.bundle.names:
        data = made.bundle.read(name)
        for trace in (root, b"site-packages", b".py\x00", b'.py"', b'File "', b"/home/", b"/tmp/", b"torch.nn"):
            assert trace not in data, f"{trace!r} in {name}"
        if name.endswith((".tflite", ".onnx")):
            assert b".py" not in data, name


def test_recorded_answers_replay(made: Exported) -> None:
    checks = replay(made.bundle)
    assert len(checks) == sum(len(variant.runnables) for variant in made.bundle.manifest.variants) + 2
    assert all(check.ok for check in checks)
    with np.load(io.BytesIO(made.bundle.read(VECTORS)), allow_pickle=False) as vectors:
        assert vectors["inputs"].shape == (8, 1, 6, 6)


def test_the_test_set_travels_in_as_few_bits_as_hold_it(made: Exported, request_: ExportRequest) -> None:
    with np.load(io.BytesIO(made.bundle.read(SAMPLES)), allow_pickle=False) as samples:
        assert samples["x"].dtype == np.uint8
        np.testing.assert_array_equal(samples["x"], request_.test_inputs)
        np.testing.assert_array_equal(samples["y"], request_.test_labels)


def test_the_report_in_the_bundle_has_no_durations(made: Exported) -> None:
    stored = json.loads(made.bundle.read(REPORT))
    assert [step["name"] for step in stored["steps"]] == list(STEPS[:-2])
    assert not any("seconds" in step for step in stored["steps"])
    assert all(step.seconds is not None for step in made.report.steps)
    assert made.report.bundle_bytes == made.path.stat().st_size


def test_provenance_names_tools_and_calibration_data(made: Exported) -> None:
    provenance = made.bundle.manifest.provenance
    assert provenance["made by"] == "hand"
    assert provenance["calibration"]["samples"] == 64
    assert {"torch", "litert-torch", "tamiyo-edge"} <= set(provenance["tools"])


def test_members_carry_no_clock(made: Exported) -> None:
    with zipfile.ZipFile(made.path) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_network_on_feature_vectors_without_any_seed_exports_as_well(tmp_path: Path) -> None:
    import torch
    from torch import nn

    torch.manual_seed(4)
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, (96, 2)).astype(np.float32)
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)).eval()
    with torch.no_grad():
        y = net(torch.from_numpy(x)).argmax(1).numpy().astype(np.int64)
    request = ExportRequest(
        name="plane",
        task="plane",
        classes=("a", "b"),
        input=InputSpec(shape=(2,), layout="F", offset=0.0, scale=1.0, raw_low=-1.0, raw_high=1.0),
        trunk=[net],
        seeds=[],
        calibration=x,
        test_inputs=x,
        test_labels=y,
    )
    path = tmp_path / "plane.tamiyo"
    export(request, "x86-64", path, key=KEY)
    manifest = Bundle.open(path, trusted=Trust.of(KEY.public)).manifest
    assert manifest.policy is None
    assert [item.id for item in manifest.configurations] == ["c"]
    assert [variant.runnables[0].accuracy for variant in manifest.variants] == [1.0, pytest.approx(1, abs=0.06), 1.0]
    with np.load(io.BytesIO(Bundle.open(path, trusted=Trust.of(KEY.public)).read(SAMPLES))) as samples:
        assert samples["x"].dtype == np.float32


def test_the_reference_is_what_the_runtime_itself_sees_on_the_test_set(made: Exported) -> None:
    manifest = made.bundle.manifest
    reference = manifest.reference
    assert reference is not None
    assert reference.source == "test set"
    with np.load(io.BytesIO(made.bundle.read(SAMPLES))) as arrays:
        x = arrays["x"]
    assert reference.samples == len(x)
    assert (reference.raw.low, reference.raw.high) == (x.min(), x.max())
    for variant in manifest.variants:
        executor, monitors = Executor(made.bundle, variant.id), Monitors.of(manifest, variant)
        assert monitors is not None
        limits = reference.confidence[variant.id]
        assert set(limits) == {item.configuration for item in variant.runnables}
        for option, runnable in enumerate(variant.runnables):
            confidences = [executor.classify(sample, option)[1] for sample in x]
            limit = limits[runnable.configuration]
            assert sum(value < limit for value in confidences) < reference.confidence_rank
            assert min(abs(value - limit) for value in confidences) < 2e-4  # it is one of them, but for a slack
            assert not any(monitors.observe(*step) for step in zip(x, [option] * len(x), confidences, strict=True))
