"""A peer of the export benchmark: a program compiled by ExecuTorch for XNNPACK, timed on request.

It runs in a virtual environment of its own (torch and executorch want other versions of much else), so this file uses
nothing of ours. It takes a program saved by ``torch.export.save`` and samples; it answers on standard output, a JSON
object a line: first its size and its answers' difference from torch, then, for each line ``COUNT`` on its standard
input, the wall-clock time of one of that many inferences.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


def main() -> int:
    """Compile, answer, then time until the input ends."""
    program = torch.export.load(sys.argv[1])
    samples = [torch.from_numpy(row[np.newaxis]) for row in np.load(sys.argv[2])]
    compiled = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    loaded = Runtime.get().load_program(compiled.buffer)
    method = loaded.load_method("forward")
    reference = program.module()
    with torch.no_grad():
        worst = max(float((method.execute([x])[0] - reference(x)).abs().max()) for x in samples)
    answer({"size_bytes": len(compiled.buffer), "difference": worst})
    for line in sys.stdin:
        count = int(line)
        started = time.perf_counter()
        for index in range(count):
            int(method.execute([samples[index % len(samples)]])[0].argmax())
        answer({"us": (time.perf_counter() - started) / count * 1e6})
    return 0


def answer(record: dict[str, float]) -> None:
    """One line, at once."""
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    sys.exit(main())
