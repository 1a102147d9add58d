"""A training run that suits each task: which host, how wide, how long, how fast.

``preset(task)`` is what the command line starts from; digits has exactly the defaults of `TrainConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tamiyo_train.config import TrainConfig
from tamiyo_train.tasks import stages

_PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        config.task: config
        for config in (
            TrainConfig(),
            TrainConfig(task="spirals", host="mlp", width=8),
        )
    }
)


def preset(task: str) -> TrainConfig:
    """The configuration to train ``task`` with; raises UnknownNameError when there is no such task."""
    stages.get(task)
    return _PRESETS[task]
