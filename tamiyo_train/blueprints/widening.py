"""Widening: n new neurons on a layer of the host, added without changing what it computes (Net2Wider, GradMax).

y = x + out(relu(in(x))): the new neurons read everything the slot carries, also the network's input where a host
carries it along, and write the writable part. Their outgoing weights are zero at birth, so the function is kept;
their incoming weights are random, so that the outgoing ones have a gradient at once (Chen et al. 2016; Evci et al.
2022). Parameters n (d_in + 1) + d (n + 1) with n = 4d or 16d.
"""

from __future__ import annotations

from tamiyo_train.blueprints.base import add
from tamiyo_train.blueprints.bottleneck import bottleneck
from tamiyo_train.slots import Domain

_VECTOR = frozenset({Domain.VECTOR})

WIDENING = add(
    bottleneck(
        "widening",
        "4d new neurons that read all the slot carries",
        lambda d: 4 * d,
        domains=_VECTOR,
        rate=0.5,
        widening=4,
    )
)
WIDENING_16 = add(
    bottleneck(
        "widening-16",
        "16d new neurons that read all the slot carries",
        lambda d: 16 * d,
        domains=_VECTOR,
        rate=0.25,
        widening=16,
    )
)
