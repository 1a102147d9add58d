"""Every blueprint, off the identity, through every format: parity in float, noise in int8, placement as listed.

A conversion takes seconds, so each blueprint is converted once. Presets of one module take turns at the domains it
works on, so that the module meets all of them.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from exporters.conformance import check_export, not_on
from exporters.targets import targets
from tamiyo_runtime.cli.blueprints_cmd import _OPERATORS
from tamiyo_train.blueprints import blueprints
from tamiyo_train.blueprints.catalogue import entries, stated_slot
from tamiyo_train.blueprints.check import moved
from tamiyo_train.seeding import initialising
from tamiyo_train.slots import Domain, Slot

pytestmark = [pytest.mark.slow, pytest.mark.toolchain]

CHANNELS = 8
SAMPLES = 32


def _slots() -> dict[str, Slot]:
    """A slot for every blueprint that does something, domains taken in turn by the class of its module."""
    turns: Counter[type] = Counter()
    chosen = {}
    for name, blueprint in blueprints:
        if name == "no-op":  # nothing is exported for it
            continue
        slots = [
            next(slot for slot in found if blueprint.misfit(slot) is None)
            for domain in Domain
            if domain in blueprint.domains
            and (found := [stated_slot(domain, CHANNELS, carrying=carrying) for carrying in (True, False)])
        ]
        kind = type(blueprint.build(slots[0]))
        chosen[name] = slots[turns[kind] % len(slots)]
        turns[kind] += 1
    return chosen


SLOTS = _slots()


def test_every_domain_is_exported_from() -> None:
    assert {slot.domain for slot in SLOTS.values()} == set(Domain)


EVERY_TIME = {
    "squeeze-excite",
    "wide-conv",
    "input-conv",
    "mini-attention",
    "cross-attention",
    "nested",
    "quant-adapter",
}
"""Between them every kind of operator, and what is deployed as something else; the others in the long suite."""
CASES = [name if name in EVERY_TIME else pytest.param(name, marks=pytest.mark.long) for name in SLOTS]


@pytest.mark.parametrize("name", CASES)
def test_a_trained_seed_survives_export(name: str) -> None:
    blueprint, slot = blueprints.get(name), SLOTS[name]
    samples = np.random.default_rng(1).standard_normal((SAMPLES, *slot.shape)).astype(np.float32)
    with initialising(1), torch.no_grad():
        module = moved(blueprint.build(slot), seed=1).train()
        module(torch.from_numpy(samples))
        shipped = blueprint.deploy(module)
        assert float((shipped(torch.from_numpy(samples)) - torch.from_numpy(samples)).abs().max()) > 0.05
    verdict = check_export(shipped, samples, name=name)
    for item in verdict.formats:
        assert item.supported, f"{item.format} {item.precision}: {item.reason}"
        assert item.holds, item
    listed = [_OPERATORS[kind] for entry in entries([name], domain=slot.domain) for kind in entry.kinds]
    for item in verdict.targets:
        missing = not_on(targets.get(item.target), listed)
        assert bool(item.beside) == bool(missing), item
        assert all(any(text.startswith(f"{code}:") for text in item.beside) for code in missing)
