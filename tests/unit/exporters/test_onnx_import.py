"""ONNX files of somebody else: what is taken, and each thing that is not, by its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  only where onnx is installed

from device_profiles.cost import OpKind  # noqa: E402
from exporters.backends.onnx_reading import read_onnx  # noqa: E402
from exporters.ops.onnx_counting import count  # noqa: E402
from tamiyo_runtime.bundle import Bundle  # noqa: E402
from tamiyo_runtime.cli.main import main  # noqa: E402
from tamiyo_runtime.contracts.plan import Precision  # noqa: E402
from tamiyo_runtime.executor import Executor  # noqa: E402

pytestmark = pytest.mark.toolchain
Run = Callable[..., tuple[int, str, str]]


def model(**changes: Any) -> Any:
    """conv 3x3 (1 -> 4) on 6 x 6 images, ReLU, flatten, dense to 3; the batch is dynamic."""
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "b": rng.normal(size=4).astype(np.float32),
        "d": rng.normal(size=(144, 3)).astype(np.float32) / 12,
        "e": np.zeros(3, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node(
            changes.get("activation", "Relu"), ["c"], ["x"], name="second", domain=changes.get("domain", "")
        ),
        helper.make_node("Flatten", ["x"], ["f"], doc_string="/home/somebody/secret.py"),
        helper.make_node("Gemm", ["f", "d", "e"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(
                "image", changes.get("type", TensorProto.FLOAT), changes.get("shape", ["N", 1, 6, 6])
            )
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", changes.get("opset", 20))]
    if changes.get("domain"):
        opsets.append(helper.make_opsetid(changes["domain"], 1))
    return helper.make_model(graph, opset_imports=opsets, producer_name="/home/somebody/train.py", ir_version=9)


@pytest.fixture
def tamiyo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAMIYO_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 16, (40, 1, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=x)
    onnx.save(model(), tmp_path / "net.onnx")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["import", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


USUAL = ("net.onnx", "--target", "x86-64", "--calibration", "samples.npz", "--input-scale", "0.0625")


def test_a_file_becomes_a_bundle_that_computes_the_same_and_every_command_takes_it(
    tamiyo: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    x = np.load(tmp_path / "samples.npz")["x"]
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    wanted = np.concatenate([session.run(None, {"image": row[None] / 16})[0] for row in x])
    np.save(tmp_path / "labels.npy", wanted.argmax(1))
    arguments = (*USUAL, "--labels", "labels.npy", "--classes", "ant,bee,cat", "--out", "n.tamiyo", "--json")
    code, out, err = tamiyo(*arguments)
    assert (code, err) == (0, "")
    report = json.loads(out)
    bundle = Bundle.open(tmp_path / "n.tamiyo")
    assert bundle.manifest.classes == ("ant", "bee", "cat")
    reference = bundle.manifest.reference
    assert reference is not None
    assert (reference.source, reference.samples) == ("samples of the import", len(x))
    assert set(reference.confidence) == {item.id for item in bundle.manifest.variants}
    assert [item["id"] for item in report["variants"]] == [item.id for item in bundle.manifest.variants]
    assert report["variants"][0]["runnables"][0]["accuracy"] == 1.0
    stored = json.loads(bundle.read("report.json"))
    assert {item["latency_ms"]["source"] for item in stored["layers"]} == {"analytic"}  # calibrated with LiteRT only
    assert stored["variants"] == report["variants"]
    assert "onnx-int8 was calibrated on the samples that it was measured on" in bundle.read("MODEL_CARD.md").decode()
    page = (tmp_path / "n.html").read_text()
    assert "What to know about the figures" in page
    assert "Conv" in page
    executor = Executor(bundle, "onnx-float")
    np.testing.assert_allclose(np.stack([executor.run(row, "c") for row in x]), wanted, atol=1e-5)
    for name in bundle.names:
        assert b"somebody" not in bundle.read(name), name
    for command in (["inspect"], ["verify"], ["run", "--samples", "10", "--device", "simulated:x86-64"]):
        assert main([command[0], "n.tamiyo", *command[1:]]) == 0
    capsys.readouterr()
    assert tamiyo(*arguments)[0] == 2  # it exists
    assert tamiyo(*arguments, "--overwrite")[0] == 0


def test_without_labels_accuracy_is_not_known_and_that_is_said(tamiyo: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for index, row in enumerate(np.load(tmp_path / "samples.npz")["x"]):
        np.save(tmp_path / "folder" / f"{index:02}.npy", row)
    code, out, _ = tamiyo("net.onnx", "--target", "x86-64", "--calibration", "folder", "--input-scale", "0.0625")
    assert code == 0
    assert "accuracy is not known: there were no labels" in out
    bundle = Bundle.open(tmp_path / "net-x86-64.tamiyo")
    assert all(item.runnables[0].accuracy is None for item in bundle.manifest.variants)
    assert "| c | not recorded | not recorded |" in bundle.read("MODEL_CARD.md").decode()
    assert "accuracy is not known: there were no labels" in (tmp_path / "net-x86-64.html").read_text()
    assert main(["verify", "net-x86-64.tamiyo"]) == 0


def test_a_dry_run_checks_everything_and_writes_nothing(tamiyo: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    code, out, _ = tamiyo(*USUAL, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["input"] == [1, 6, 6]
    assert sorted(tmp_path.iterdir()) == before


def test_operators_are_counted_with_their_macs_and_bytes(tamiyo: Run, tmp_path: Path) -> None:
    ops = count(read_onnx(tmp_path / "net.onnx").model, precision=Precision.FLOAT32)
    assert [(op.kind, op.macs) for op in ops] == [(OpKind.CONV2D, 36 * 4 * 9), (OpKind.FULLY_CONNECTED, 144 * 3)]
    assert ops[0].weight_bytes == 4 * (36 + 4)
    assert (ops[0].input_bytes, ops[0].output_bytes) == (4 * 36, 4 * 144)
    assert count(read_onnx(tmp_path / "net.onnx").model, precision=Precision.INT8)[1].output_bytes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": ["N", 1, "height", 6]}, "dimension 2 ('height') is dynamic"),
        ({"shape": [4, 1, 6, 6]}, "fixed to batches of 4"),
        ({"type": TensorProto.DOUBLE}, "DOUBLE"),
        ({"activation": "Sparkle", "domain": "com.example"}, "node 'second': operator com.example::Sparkle"),
        ({"activation": "Sparkle"}, "node 'second': operator Sparkle is not one of opset 20"),
        ({"opset": 99}, "opset 99"),
    ],
)
def test_what_a_bundle_cannot_hold_exits_4_by_name(
    tamiyo: Run, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    onnx.save(model(**changes), tmp_path / "net.onnx")
    code, out, err = tamiyo(*USUAL)
    assert (code, out) == (4, "")
    assert message in err
    assert not list(tmp_path.glob("*.tamiyo"))


def test_a_target_that_runs_no_onnx_names_those_that_do(tamiyo: Run) -> None:
    code, _, err = tamiyo("net.onnx", "--target", "edge-tpu", "--calibration", "samples.npz")
    assert code == 4
    assert "edge-tpu runs no ONNX" in err
    assert "x86-64" in err


def outside(folder: Path, location: str, *, length: str = "16") -> None:
    """The model with the bias of its convolution kept in another file."""
    made = model()
    bias = made.graph.initializer[1]
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    for field, value in (("location", location), ("offset", "0"), ("length", length)):
        bias.external_data.add(key=field, value=value)
    (folder / "net.onnx").write_bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../secret.bin", "outside the model's folder"),
        ("a/../../secret.bin", "outside the model's folder"),
        ("/etc/hostname", "outside the model's folder"),
        ("link.bin", "outside the model's folder"),
        ("", "outside the model's folder"),
        ("missing.bin", "which is missing"),
        ("short.bin", "which has 4 bytes and not the part it names"),
    ],
)
def test_data_outside_the_model_s_folder_exits_6(tamiyo: Run, tmp_path: Path, location: str, message: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (inner / "short.bin").write_bytes(bytes(4))
    (inner / "link.bin").symlink_to(tmp_path / "secret.bin")
    outside(inner, location)
    code, out, err = tamiyo("inner/net.onnx", *USUAL[1:])
    assert (code, out) == (6, "")
    assert message in err
    assert not list(tmp_path.glob("*.tamiyo"))


def test_data_beside_the_model_are_taken_in(tamiyo: Run, tmp_path: Path) -> None:
    outside(tmp_path, "bias.bin")
    (tmp_path / "bias.bin").write_bytes(np.ones(4, np.float32).tobytes())
    assert b"bias.bin" not in read_onnx(tmp_path / "net.onnx").data


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [(b"hello", 6, "is not an ONNX model"), (b"", 6, "is not an ONNX model"), (None, 2, "ONNX model not found")],
)
def test_what_is_no_model_is_refused(tamiyo: Run, tmp_path: Path, data: bytes | None, code: int, message: str) -> None:
    (tmp_path / "net.onnx").unlink()
    if data is not None:
        (tmp_path / "net.onnx").write_bytes(data)
    found, _, err = tamiyo(*USUAL)
    assert found == code
    assert message in err


def test_a_model_that_breaks_the_rules_is_refused(tamiyo: Run, tmp_path: Path) -> None:
    broken = model()
    broken.graph.node[3].input[0] = "nowhere"
    (tmp_path / "net.onnx").write_bytes(broken.SerializeToString())
    code, _, err = tamiyo(*USUAL)
    assert code == 6
    assert "breaks the rules of ONNX" in err


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((40, 1, 6, 6), np.float32), None, "every value"),
        (np.full((40, 1, 6, 6), np.nan, np.float32), None, "NaN"),
        (np.arange(40 * 25, dtype=np.float32).reshape(40, 1, 5, 5), None, "the model takes [1, 6, 6]"),
        (np.full(40, "a"), None, "not numbers"),
        (np.zeros((0, 1, 6, 6), np.float32), None, "no samples"),
        (np.arange(40 * 36, dtype=np.float32).reshape(40, 1, 6, 6), np.full(40, "a"), "not numbers"),
        (np.arange(3 * 36, dtype=np.float32).reshape(3, 1, 6, 6), None, "at least 16"),
        (np.arange(40 * 36, dtype=np.float32).reshape(40, 1, 6, 6), np.full(40, 3), "labels must be 40 numbers"),
        (np.arange(40 * 36, dtype=np.float32).reshape(40, 1, 6, 6), np.zeros(39, int), "labels must be 40 numbers"),
    ],
)
def test_samples_that_do_not_fit_exit_2_before_any_work(
    tamiyo: Run, tmp_path: Path, x: Any, y: Any, message: str
) -> None:
    np.savez(tmp_path / "samples.npz", **({"x": x} if y is None else {"x": x, "y": y}))
    code, _, err = tamiyo(*USUAL)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("option", [("--input-scale", "inf"), ("--input-scale", "0"), ("--input-offset", "nan")])
def test_a_scaling_that_is_none_exits_2(tamiyo: Run, option: tuple[str, str]) -> None:
    code, _, err = tamiyo(*USUAL, *option)
    assert code == 2
    assert option[0] in err


def test_the_wrong_number_of_classes_and_archives_without_samples_are_refused(tamiyo: Run, tmp_path: Path) -> None:
    assert "2 classes, the model answers 3" in tamiyo(*USUAL, "--classes", "a,b")[2]
    np.savez(tmp_path / "samples.npz", images=np.ones(3))
    assert "holds images, no x" in tamiyo(*USUAL)[2]
    (tmp_path / "samples.npz").write_bytes(b"PK nothing")
    assert tamiyo(*USUAL)[0] == 2
