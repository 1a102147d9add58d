"""What is checked of data before anything is trained on it."""

from __future__ import annotations

import torch

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_train.data import Tensors


def check_tensors(data: Tensors) -> None:
    """Refuse tensors a network would learn nonsense from; raises InputError saying which split, what and where."""
    classes = int(data.train_y.max()) + 1 if len(data.train_y) else 0
    samples = {"train": data.variants.flatten(0, 1)}
    labels = {"train": data.train_y}
    for name in ("gate", "score", "validation", "test"):
        split = getattr(data, name)
        samples[name], labels[name] = split.x, split.y
    for name, x in samples.items():
        finite = torch.isfinite(x).flatten(1).all(1)
        if not bool(finite.all()):
            first = int(torch.nonzero(~finite)[0]) % max(1, len(labels[name]))
            raise InputError(
                f"the {name} split: sample {first} holds NaN or infinity", hint="drop or repair it before training"
            )
    for name, y in labels.items():
        counts = torch.bincount(y.flatten().clamp_min(0), minlength=classes)
        if not len(y) or int(y.min()) < 0 or len(counts) > classes:
            found = f"labels lie in {int(y.min())}..{int(y.max())}" if len(y) else "it is empty"
            raise InputError(f"the {name} split: {found}", hint=f"labels are class numbers, 0..{max(classes - 1, 0)}")
        if name in {"train", "gate"} and not bool(counts.all()):
            raise InputError(
                f"the {name} split: no sample of class {int((counts == 0).nonzero()[0])}",
                hint="every class must be there to learn from and to be judged on",
            )
