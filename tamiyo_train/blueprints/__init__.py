"""Kinds of seeds. ``blueprints.get(name)`` gives the `Blueprint`; `check_blueprint` is what a new one must pass."""

from collections.abc import Mapping
from types import MappingProxyType

from tamiyo_train.blueprints import (  # noqa: F401  (they register themselves)
    bottleneck,
    depthwise,
    nested,
    no_op,
    squeeze_excite,
    wide_conv,
)
from tamiyo_train.blueprints.base import Blueprint, WithAuxiliaryLoss, WithScore, blueprints, deployed
from tamiyo_train.blueprints.check import check_blueprint
from tamiyo_train.blueprints.nested import WithInnerSlots, with_children
from tamiyo_train.slots import Domain

OFFERED: Mapping[Domain, tuple[str, ...]] = MappingProxyType(
    {
        Domain.VECTOR: ("no-op", "bottleneck", "squeeze-excite"),
        Domain.SEQUENCE: ("no-op", "bottleneck", "squeeze-excite", "depthwise", "wide-conv"),
        Domain.IMAGE: ("no-op", "bottleneck", "squeeze-excite", "depthwise", "wide-conv"),
        Domain.JOINT: ("no-op",),
    }
)
"""What a policy chooses from on hosts of a domain; the order is that of its blueprint head. No-op is number 0."""

__all__ = [
    "OFFERED",
    "Blueprint",
    "Domain",
    "WithAuxiliaryLoss",
    "WithInnerSlots",
    "WithScore",
    "blueprints",
    "check_blueprint",
    "deployed",
    "with_children",
]
