"""Exports a plain torch module that never saw tamiyo for two targets, and runs the bundles.

    python examples/plain_module.py [FOLDER]

A small CNN learns scikit-learn's digits in a few seconds. Needs `pip install 'tamiyo-edge[train,export]'`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from exporters import export_module, request_of_module
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.executor import Executor

TARGETS = ("x86-64", "edge-tpu")
TRAINED_ON = 1400


def network() -> nn.Module:
    """8 x 8 images -> ten logits; 6 thousand parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )


def train(module: nn.Module, x: torch.Tensor, y: torch.Tensor, *, epochs: int = 8) -> None:
    """Plain training; nothing of it is tamiyo's."""
    optimiser = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(module(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def main(folder: Path) -> None:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    raw = images.reshape(-1, 1, 8, 8).astype(np.float32)  # 0 to 16, as the scanner gave them
    labels = labels.astype(np.int64)
    module = network()
    train(module, torch.from_numpy(raw[:TRAINED_ON] / 16), torch.from_numpy(labels[:TRAINED_ON]))
    request = request_of_module(
        module,
        name="plain-digits",
        classes=tuple("0123456789"),
        calibration=raw[:200],
        test_inputs=raw[TRAINED_ON:],
        test_labels=labels[TRAINED_ON:],
        spec=InputSpec(shape=(1, 8, 8), layout="CHW", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        path = folder / f"plain-digits-{target}.tamiyo"
        report = export_module(request, target, path)
        bundle = Bundle.open(path)  # checks signature and hashes
        executor = Executor(bundle)
        answers = [int(executor.run(sample, executor.runnables[0]).argmax()) for sample in raw[TRAINED_ON:]]
        found = float(np.mean(np.array(answers) == labels[TRAINED_ON:]))
        cost = executor.runnables[0].cost
        print(
            f"{path.name}: {executor.variant.id}, {found:.1%} of {len(answers)} test images right when run here, "
            f"{cost.latency_ms.value * 1e3:.0f} us on {report.profile} ({cost.latency_ms.source.value})"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "plain-module-out"))
