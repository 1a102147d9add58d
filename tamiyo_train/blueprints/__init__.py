"""Kinds of seeds. ``blueprints.get(name)`` gives the `Blueprint`; `check_blueprint` is what a new one must pass."""

from collections.abc import Mapping
from types import MappingProxyType

from tamiyo_train.blueprints import (  # noqa: F401  (they register themselves)
    attention,
    attention_filter,
    bottleneck,
    cross_attention,
    denoiser,
    depthwise,
    fail_safe,
    glu,
    input_conv,
    latent_align,
    nested,
    no_op,
    quant_adapter,
    residual_mlp,
    sliding_conv,
    sparse_activation,
    squeeze_excite,
    wide_conv,
    widening,
)
from tamiyo_train.blueprints.base import Blueprint, WithAuxiliaryLoss, WithScore, blueprints, deployed
from tamiyo_train.blueprints.check import check_blueprint
from tamiyo_train.blueprints.nested import WithInnerSlots, with_children
from tamiyo_train.slots import Domain

OFFERED: Mapping[Domain, tuple[str, ...]] = MappingProxyType(
    {
        Domain.VECTOR: (
            *("no-op", "bottleneck", "low-rank", "residual-mlp", "glu", "squeeze-excite", "widening", "input-conv"),
            "nested",
        ),
        Domain.SEQUENCE: (
            *("no-op", "bottleneck", "squeeze-excite", "depthwise", "wide-conv", "mini-attention", "glu"),
            *("sliding-conv", "sparse-activation"),
        ),
        Domain.IMAGE: ("no-op", "bottleneck", "squeeze-excite", "depthwise", "wide-conv"),
        Domain.JOINT: ("no-op", "cross-attention", "latent-align"),
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
