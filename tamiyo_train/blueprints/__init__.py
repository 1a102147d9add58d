"""Kinds of seeds. ``blueprints.get(name)`` gives the `Blueprint`; `check_blueprint` is what a new one must pass."""

from tamiyo_train.blueprints import bottleneck, depthwise, no_op, squeeze_excite, wide_conv
from tamiyo_train.blueprints.base import Blueprint, Domain, blueprints
from tamiyo_train.blueprints.check import check_blueprint

STAGE_1: tuple[str, ...] = (
    no_op.NoOp.name,
    bottleneck.Bottleneck.name,
    squeeze_excite.SqueezeExcite.name,
    depthwise.Depthwise.name,
    wide_conv.WideConv.name,
)
"""What the policy of stage 1 chooses from; the order is that of its blueprint head."""

__all__ = ["STAGE_1", "Blueprint", "Domain", "blueprints", "check_blueprint"]
