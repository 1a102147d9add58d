"""Which episodes a population can train, and what it does where an episode asks for more."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.config import Episode

_TRAINED: Mapping[str, tuple[object, str]] = MappingProxyType(
    {
        "blending": ("ramp", "seeds are blended in along a ramp"),
        "attack": (0.0, "batches are not attacked"),
        "drift_target": (None, "seeds turn as far as they like"),
        "space_target": (None, "seeds turn as far as they like"),
        "apart": (False, "newborns learn together"),
    }
)
"""By field of an episode: the only value that is trained, and what that means."""
_PLAYED: Mapping[str, tuple[object, str]] = MappingProxyType(
    {
        **_TRAINED,
        "consolidation_steps": (0, "an episode ends where growing ends"),
        "gate_dropout": (0.0, "no seed is left out of a step"),
        "evaluations": (1, "one evaluation decides whether a seed stays"),
        "utilisation": (None, "no seed is retired"),
    }
)
"""The same where a population decides as well."""


def check_trained(config: Episode) -> None:
    """Raise IncompatibleError, naming the field, for an episode that lanes would train otherwise than `Trainer`."""
    _check(config, _TRAINED)


def check_played(config: Episode) -> None:
    """The same for one whose decisions `TensorGrowth` would carry out otherwise than `GrowthEnv`."""
    _check(config, _PLAYED)


def _check(config: Episode, allowed: Mapping[str, tuple[object, str]]) -> None:
    for name, (value, meaning) in allowed.items():
        if getattr(config, name) != value:
            raise IncompatibleError(
                f"an episode with {name} = {getattr(config, name)!r} is not for populations: there {meaning}",
                hint=f"set {name} = {value!r}, or grow one network at a time, by Trainer or GrowthEnv",
            )
