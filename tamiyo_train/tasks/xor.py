"""Stage 5: XOR-N, the parity of ``relevant`` of ``inputs`` noisy bits; the others say nothing.

Every input is -1 or 1 with gaussian noise. The best rule takes the signs of the relevant inputs; a sign is wrong with
probability q = Q(1 / noise), the parity with (1 - (1 - 2 q)^relevant) / 2: about one in 8,000 at the defaults, 4 and
0.25. No single input and no proper subset of the relevant ones tells anything about the class.
"""

from __future__ import annotations

import numpy as np

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, stages
from tamiyo_train.tasks.generated import CUT, generated, labels, noise_of, within

RELEVANT = 4
INPUTS = 8
NOISE = 0.25
BOUND = 1 + CUT * NOISE
SPEC = InputSpec(shape=(INPUTS,), layout="D", offset=0.0, scale=1.0, raw_low=-BOUND, raw_high=BOUND)
SEED = 26
BAYES = 0.9999
"""By the formula above."""


def draw(
    samples: int,
    *,
    rng: np.random.Generator,
    relevant: int = RELEVANT,
    inputs: int = INPUTS,
    noise: float = NOISE,
) -> Split:
    """``samples`` points, half a class; the relevant inputs are the first ones. Raises SchemaError."""
    within("inputs", inputs, 2, 32)
    within("relevant", relevant, 2, inputs)
    within("noise", noise, 0, 0.5)
    y = labels(samples, 2)
    bits = rng.integers(0, 2, (samples, inputs))
    bits[:, relevant - 1] = (bits[:, : relevant - 1].sum(axis=1) + y) % 2
    return Split(x=(2.0 * bits - 1 + noise_of(rng, noise, bits.shape)).astype(np.float32), y=y)


@stages.register("xor")
def xor() -> Task:
    """The task with 4 relevant of 8 inputs."""
    return generated("xor", draw, classes=("even", "odd"), spec=SPEC, seed=SEED)
