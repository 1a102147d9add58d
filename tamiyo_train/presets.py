"""A training run that suits each task: which host, how wide, how long, how fast.

``preset(task)`` is what the command line starts from; digits has exactly the defaults of `TrainConfig`. Vector tasks
train twice as many steps, since a step costs little; a host that carries its input is for those whose classes hang on
many inputs at once. Windows of signals are long: fewer episodes are collected there. The host of the spirals has one
hidden layer, which stays below 80 % in all those steps: what else it takes has to grow. That of the clusters has one
too, for a deeper one as narrow is dead from the start now and then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tamiyo_train.blueprints import OFFERED, Domain
from tamiyo_train.config import COLLECT, FINAL, Episode, Limits, TrainConfig
from tamiyo_train.data import task_of
from tamiyo_train.tasks import stages

_LIMITS = Limits(drift_hold=1.5, drift_critical=1.9)
"""A handful of ReLU units turn far when a seed adds what they lacked: at the limits for images blending would stop."""
_COLLECT = replace(COLLECT, steps=320, consolidation_steps=96, apart=True, limits=_LIMITS)
_FINAL = replace(FINAL, steps=1024, consolidation_steps=512, batch=128, apart=True, limits=_LIMITS)
_SLOWER = replace(
    _FINAL, steps=2048, consolidation_steps=512, gate_dropout=0.0, consolidation_dropout=0.0, learning_rate=0.01
)
"""Twice as long at half the rate, and no seed left out: 99 % of the spirals takes all seeds at once."""
_SLOWEST = replace(_SLOWER, steps=3072, consolidation_steps=768, learning_rate=0.007)
_LOGIC = replace(_SLOWER, weight_decay=0.1, utilisation=0.3)
"""Hardly anything is wrong in the end, so seeds that do little pass for useful on one split and not on the next: they
are retired when they do less than a third of what their size asks for."""
_HARD = replace(FINAL, steps=1344, consolidation_steps=864, gate_dropout=0.1, consolidation_dropout=0.2)
_TEXT_COLLECT = replace(COLLECT, steps=320, consolidation_steps=96, batch=32, learning_rate=0.012)
_TEXT_FINAL = replace(
    _HARD, steps=896, consolidation_steps=576, consolidation_dropout=0.1, batch=32, learning_rate=0.012
)
_MOVED = 0.05
"""FGSM on half of every batch: what it teaches holds for corruptions that no training image has."""
_MOVED_COLLECT = replace(COLLECT, attack=_MOVED)
_MOVED_FINAL = replace(_HARD, steps=672, consolidation_steps=432, attack=_MOVED)
_AGAINST_CORRUPTION = (*OFFERED[Domain.IMAGE], "denoiser", "attention-filter")
_WORN = (*OFFERED[Domain.SEQUENCE], "quant-adapter", "fail-safe-bottleneck")
_LANGUAGE = ("no-op", "adapter", "bottleneck", "mini-attention-causal", "sliding-conv", "glu")
_LONGER = replace(FINAL, steps=896, consolidation_steps=498)
_PAIRS_COLLECT = replace(COLLECT, steps=320, consolidation_steps=96, batch=32, learning_rate=0.01)
_PAIRS_FINAL = replace(
    FINAL, steps=640, consolidation_steps=416, consolidation_dropout=0.7, batch=32, learning_rate=0.01
)
"""Seeds are left out often in consolidation: none then moves the embeddings as far, and more is right on the gate."""
_PLAIN_HOSTS = {1: "mlp", 2: "conv1d", 3: "dsconv"}


def _vector(task: str, *, host: str, width: int, collect: Episode = _COLLECT, final: Episode = _FINAL) -> TrainConfig:
    return TrainConfig(task=task, host=host, width=width, collect=collect, final=final)


_PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        config.task: config
        for config in (
            TrainConfig(),
            _vector("moons", host="mlp", width=3),
            _vector("complex-moons", host="mlp", width=3),
            _vector("spirals", host="mlp-shallow", width=8, final=_SLOWEST),
            _vector("clusters", host="mlp-shallow", width=3),
            _vector("spheres", host="mlp-skip", width=6, final=replace(_SLOWER, weight_decay=0.1)),
            _vector("checkerboard", host="mlp-skip", width=8, final=_LOGIC),
            _vector("xor", host="mlp-skip", width=5, final=_LOGIC),
            TrainConfig(task="mnist1d", host="conv1d", width=4),
            TrainConfig(
                task="digits-c",
                width=8,
                taught=_AGAINST_CORRUPTION,
                collect=_MOVED_COLLECT,
                final=_MOVED_FINAL,
            ),
            TrainConfig(
                task="language",
                host="causal1d",
                width=6,
                taught=_LANGUAGE,
                collect=_TEXT_COLLECT,
                final=_TEXT_FINAL,
            ),
            TrainConfig(
                task="captions",
                host="pairs",
                width=4,
                episodes=8,
                collect=_PAIRS_COLLECT,
                final=_PAIRS_FINAL,
            ),
            TrainConfig(task="ecg", host="conv1d", width=4, episodes=8, final=_LONGER),
            TrainConfig(task="imu", host="conv1d", width=2, episodes=8, taught=_WORN),
        )
    }
)


_FOR_FILES: Mapping[str, str] = MappingProxyType(
    {
        "wfdb": "ecg",
        "har": "imu",
        "hapt": "imu",
        "idx": "digits",
        "mnist-json": "digits",
        "csv": "clusters",
        "text": "language",
    }
)
"""Whose preset suits files of a format."""


def preset(task: str, data: str | None = None) -> TrainConfig:
    """The configuration to train ``task`` with; raises UnknownNameError when there is no such task.

    With ``data``, ``task`` is the format of those files. A task or format that others registered gets the plain host of
    its domain, by the number of axes of a sample.
    """
    if data is not None:
        shape = task_of(task, data).input.shape
        if task in _FOR_FILES:
            return replace(_PRESETS[_FOR_FILES[task]], task=task, data=data)
        return TrainConfig(task=task, data=data, host=_PLAIN_HOSTS[len(shape)])
    make = stages.get(task)
    if task in _PRESETS:
        return _PRESETS[task]
    return TrainConfig(task=task, host=_PLAIN_HOSTS[len(make().input.shape)])
