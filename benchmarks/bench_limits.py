"""What a network with room and data to spare reaches on the signal tasks: a lower estimate of what can be told at all.

The best rule for a simulated electrocardiogram has no closed form: its patients are drawn from continuous laws. This
trains a wide convolutional network on many more people than the task has, and measures it on the task's own test set,
whose people it has not met. Minutes on a GPU; with --people 60 --epochs 2 a minute on a CPU.

    python benchmarks/bench_limits.py --task ecg --people 1000
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append
from tamiyo_train.metrics import metrics
from tamiyo_train.tasks import ecg, imu, stages

BATCH = 256
FIRST = 1000
"""Number of the first person to train on: the tasks have lower ones."""


def network(channels: int, classes: int, width: int) -> nn.Module:
    """Five convolutions of size 7, each at half the rate of the one before, then the mean and the maximum over time."""
    layers: list[nn.Module] = []
    for stage in range(5):
        wide = width * 2 ** min(stage, 2)
        layers += [nn.Conv1d(channels, wide, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(wide), nn.ReLU()]
        layers += [nn.Conv1d(wide, wide, 5, padding=2, bias=False), nn.BatchNorm1d(wide), nn.ReLU()]
        channels = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, classes))


def main() -> None:
    """Train, test, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=("ecg", "imu"), default="ecg")
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--width", type=int, default=48)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    draw = {"ecg": ecg.draw, "imu": imu.draw}[options.task]
    task = stages.get(options.task)()
    drawn, _ = draw(range(FIRST, FIRST + options.people))
    x, y = torch.from_numpy(drawn.x).to(device), torch.from_numpy(drawn.y).to(device)
    torch.manual_seed(0)
    net = network(x.shape[1], len(task.classes), options.width).to(device)
    steps = options.epochs * (len(y) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(y), (BATCH,), device=device)
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimiser.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        logits = net(torch.from_numpy(task.test.x).to(device)).cpu().numpy()
    wrong = np.flatnonzero(logits.argmax(1) != task.test.y)
    pairs, counts = np.unique(
        [f"{task.classes[task.test.y[k]]} as {task.classes[logits[k].argmax()]}" for k in wrong], return_counts=True
    )
    report = {
        "task": options.task,
        "people": options.people,
        "windows": len(y),
        "parameters": sum(param.numel() for param in net.parameters()),
        "test_windows": len(task.test),
        "accuracy": metrics.get("accuracy").of(logits, task.test.y),
        "macro_auc": metrics.get("macro-auc").of(logits, task.test.y),
        "commonest_errors": {str(pairs[k]): int(counts[k]) for k in counts.argsort()[::-1][:5]},
        "device": device,
    }
    print(json.dumps(report))
    print(f"written to {append('limits', report, ['torch'])}")


if __name__ == "__main__":
    main()
