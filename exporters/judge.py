"""What a network answers once it is int8: the export's own path up to the graph, run by a device's interpreter.

Post-training int8 in one graph, all seeds on: no remedy that an export would choose by the accuracy it reaches.
"""

from __future__ import annotations

from dataclasses import replace

from exporters.backends import tflite
from exporters.backends.joining import join
from exporters.evaluate import Comparison, compare, logits_of
from exporters.network import scaled
from exporters.quantise import ptq
from exporters.request import ExportRequest
from exporters.steps import capture
from exporters.steps.floats import whole
from exporters.steps.int8 import MAX_SAMPLES
from exporters.targets import find_target
from exporters.validate import check_request
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.plan import Layout


def int8_answers(request: ExportRequest, target: str) -> Comparison:
    """The full network in int8 TFLite beside torch, on every test sample, through LiteRT.

    Raises IncompatibleError when it cannot be converted or the target takes no int8 TFLite, MissingExtraError without
    the toolchain, InputError for a request that no export takes.
    """
    recipe = next((item for item in find_target(target).variants if item.int8_tflite), None)
    if recipe is None:
        raise IncompatibleError(f"{target} takes no int8 TFLite graph", hint="choose a target that does")
    check_request(request)
    captured, _ = capture.run(request)
    network, name = captured.network, captured.network.full.id
    chain = [
        tflite.convert(piece.module, piece.example, name=piece.name) for piece in network.chain(network.full.gates)
    ]
    real = scaled(request, request.calibration[:MAX_SAMPLES])
    int8 = ptq.wholes(recipe, {name: join(chain, name=name)}, real).quantise()
    compiled = whole(replace(recipe, layout=Layout.WHOLE), int8)
    found = logits_of(compiled, request.test_inputs, request.input, captured.gates, network.seeded)[name]
    return compare(found, captured.wanted[name], request.test_labels)
