"""What a network answers in int8, without a bundle: as the export finds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporters.judge import int8_answers
from tamiyo_runtime.contracts.errors import IncompatibleError
from tests.unit.exporters.tiny import tiny_request


def test_the_int8_graph_answers_nearly_as_torch_does_and_is_not_torch() -> None:
    found = int8_answers(tiny_request(policy=False), "ethos-u55-128")
    assert found.accuracy == pytest.approx(found.torch_accuracy, abs=0.03)
    assert found.agreement > 0.95
    assert found.sqnr_db is not None and 15 < found.sqnr_db < 60, "eight bits make some noise, not much"


def test_ranges_that_calibration_did_not_see_cost_accuracy() -> None:
    request = tiny_request(policy=False)
    faint = replace(request, calibration=(request.calibration * np.float32(0.02)))
    assert int8_answers(faint, "edge-tpu").accuracy < int8_answers(request, "edge-tpu").accuracy - 0.1


def test_a_target_without_int8_tflite_has_no_such_graph() -> None:
    with pytest.raises(IncompatibleError, match="takes no int8 TFLite graph"):
        int8_answers(tiny_request(policy=False), "gpu-server")
