"""The operator tables against the tools they speak of, where these are installed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from exporters.backends import tflite
from exporters.ops.ethos_u import ETHOS_U
from exporters.ops.tflite_micro import TFLITE_MICRO

# Asks for every operator of the format in a process of its own: the kernels are fed what they do not expect.
ASK = """
import json, os, sys, tempfile
from ai_edge_litert import schema_py_generated as schema
import flatbuffers
from tflite_micro.python.tflite_micro import runtime
codes = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
data = open(sys.argv[1], "rb").read()
known = []
for code, name in sorted(codes.items()):
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for item in model.operatorCodes:
        item.builtinCode, item.deprecatedBuiltinCode = code, min(code, 127)
    for item in model.subgraphs[0].operators:
        item.builtinOptions, item.builtinOptionsType = None, 0
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            runtime.Interpreter.from_bytes(bytes(builder.Output()))
        except Exception:
            pass
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        log.seek(0)
        if b"Failed to get registration" not in log.read():
            known.append(name)
print(json.dumps(known))
"""


def installed(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"needs {package}")


@pytest.mark.toolchain
@installed("tflite_micro")
def test_tflite_micro_registers_exactly_the_operators_of_its_table(tmp_path: Path) -> None:
    graph = tmp_path / "net.tflite"
    graph.write_bytes(tflite.convert(nn.Conv2d(2, 2, 1).eval(), torch.rand(1, 2, 4, 4), name="net"))
    done = subprocess.run([sys.executable, "-c", ASK, str(graph)], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout.splitlines()[-1])) == set(TFLITE_MICRO.rules)


@installed("ethosu")
def test_every_ethos_u_takes_exactly_the_operators_of_its_table(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "ethosu.vela", "--supported-ops-report"]
    subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=True)
    text = (tmp_path / "SUPPORTED_OPS.md").read_text()
    found: dict[str, set[str]] = {}
    for operator, device in re.findall(
        r"^\| ([A-Z0-9_]+) \| \[Generic\]\(#([a-z0-9-]+)-tflite-generic", text, re.MULTILINE
    ):
        found.setdefault(device, set()).add(operator)
    assert set(found) == {"ethos-u55-and-ethos-u65", "ethos-u85"}
    assert set.intersection(*found.values()) == set(ETHOS_U.rules)
