"""Residual MLP: y = x + up(relu(down(x))) with h hidden units a position, h in {d/2, d, 2d}.

The bottleneck's module with a middle that is not narrow: parameters 2dh + h + d. With h = d it is the preset
``bottleneck`` under the name it has in the literature on MLPs.
"""

from __future__ import annotations

from tamiyo_train.blueprints.base import add
from tamiyo_train.blueprints.bottleneck import bottleneck

HALF = add(bottleneck("residual-mlp-half", "d-h-d, h = d/2", lambda d: max(d // 2, 2), ratio=0.5, least=2))
EQUAL = add(bottleneck("residual-mlp-equal", "d-h-d, h = d", lambda d: d, ratio=1))
DOUBLE = add(bottleneck("residual-mlp", "d-h-d, h = 2d", lambda d: 2 * d, ratio=2, rate=0.5))
