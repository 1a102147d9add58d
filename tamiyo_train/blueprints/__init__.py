"""Kinds of seeds. ``blueprints.get(name)`` gives the `Blueprint`; `check_blueprint` is what a new one must pass."""

from tamiyo_train.blueprints import (  # noqa: F401  (they register themselves)
    bottleneck as _bottleneck,
)
from tamiyo_train.blueprints import (
    depthwise as _depthwise,
)
from tamiyo_train.blueprints import (
    no_op as _no_op,
)
from tamiyo_train.blueprints import (
    squeeze_excite as _squeeze_excite,
)
from tamiyo_train.blueprints import (
    wide_conv as _wide_conv,
)
from tamiyo_train.blueprints.base import Blueprint, Domain, blueprints
from tamiyo_train.blueprints.check import check_blueprint

__all__ = ["Blueprint", "Domain", "blueprints", "check_blueprint"]
