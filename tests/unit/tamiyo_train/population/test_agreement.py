"""A lane of a population lives the life that a network of modules lives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tamiyo_runtime.contracts.observation import INTENSITIES
from tamiyo_train import telemetry
from tamiyo_train.blueprints import blueprints
from tamiyo_train.lifecycle import Event, State
from tests.unit.tamiyo_train.population.helpers import EPISODE, Ordinary, population, worst

FAMILIES = ("residual", "squeeze-excite")
LANE = 1


def live(ordinary: Ordinary, lanes, names: tuple[str, str, str]) -> list[tuple[float, float]]:
    """Germinate, blend, fossilise, cull and germinate again on both sides; losses of every step, side by side."""
    losses: list[tuple[float, float]] = []
    trainer, gardener = ordinary.trainer, ordinary.gardener

    def window(steps: int = EPISODE.window) -> None:
        reading = telemetry.read(ordinary.network, trainer)
        drifting = [slot for slot, seen in reading.slots.items() if seen.drift_p95 > EPISODE.limits.drift_hold]
        measured = lanes.train(steps, waiting={LANE: drifting})
        for step in range(steps):
            gardener.raise_alphas(reading)
            result = trainer.step(consolidate=trainer.step_index >= EPISODE.steps)
            losses.append((result.loss, float(measured.losses[step, LANE])))
            assert result.correct == int(measured.correct[step, LANE])
            if result.seed_loss is not None:
                losses.append((result.seed_loss, float(measured.seed_losses[step, LANE])))

    def germinate(slot: int, name: str) -> None:
        ordinary.germinate(slot, name)
        blueprint = blueprints.get(name)
        lanes.germinate(LANE, slot, blueprint, rate=INTENSITIES[2] * blueprint.rate)

    def both(slot: int, event: Event) -> None:
        ordinary.network.lives[slot].fire(event, step=trainer.step_index, reason="test")
        lanes.fire(LANE, slot, event, "test")

    window()
    germinate(1, names[0])
    germinate(2, names[1])
    window()
    both(1, Event.ADVANCE)
    window()
    both(2, Event.ADVANCE)
    for _ in range(3):
        window()
    for event in (Event.BLENDED, Event.SHADOWED, Event.FOSSILISE):
        both(1, event)
    window()
    gardener.cull(2, "test")
    lanes.cull(LANE, 2, "test")
    germinate(0, names[2])
    for _ in range(3):
        window()
        gardener.release()
        lanes.release(LANE)
    germinate(2, names[1])
    for _ in range(8):
        window()
    return losses


@pytest.mark.parametrize(
    ("host", "names", "weight_decay"),
    [
        ("mlp", ("bottleneck",) * 3, 0.0),
        ("mlp", ("squeeze-excite", "bottleneck", "squeeze-excite"), 0.1),
        ("mlp-skip", ("bottleneck",) * 3, 0.1),
        ("mlp-skip", ("squeeze-excite", "bottleneck", "squeeze-excite"), 0.0),
    ],
)
def test_a_lane_and_an_ordinary_network_agree_in_double_precision(host, names, weight_decay):
    config = replace(EPISODE, weight_decay=weight_decay)
    ordinary = Ordinary(LANE, dtype=torch.float64, host=host, config=config)
    lanes = population(dtype=torch.float64, host=host, families=FAMILIES, config=config)
    losses = live(ordinary, lanes, names)
    assert ordinary.trainer.step_index == lanes.at(LANE).step_index == EPISODE.total_steps >= 100
    assert max(abs(a - b) for a, b in losses) < 1e-7
    assert lanes.at(LANE).alphas() == pytest.approx(ordinary.network.alphas(), abs=1e-12)
    assert ordinary.trainer.training_macs == lanes.at(LANE).training_macs
    exported = lanes.to_network(LANE).double()
    assert [life.state for life in exported.lives] == [life.state for life in ordinary.network.lives]
    assert ordinary.network.lives[1].state is State.FOSSILISED
    narrowed = ordinary.network.float()
    assert worst(exported.float(), narrowed) < 1e-6


def test_a_lane_and_an_ordinary_network_agree_to_float_tolerance():
    ordinary, lanes = Ordinary(LANE), population()
    losses = live(ordinary, lanes, ("bottleneck",) * 3)
    assert len(losses) > 180
    assert max(abs(a - b) for a, b in losses) < 1e-3
    assert worst(lanes.to_network(LANE), ordinary.network) < 5e-3


def test_weight_decay_takes_from_weights_in_a_lane():
    kept, decayed = population(), population(config=replace(EPISODE, weight_decay=0.5))
    for lanes in (kept, decayed):
        lanes.germinate(LANE, 1, blueprints.get("bottleneck"))
        lanes.train(30)
    for block in ("hosts", "seeds"):
        norms = [float(getattr(lanes.engine, block).params[LANE].norm()) for lanes in (kept, decayed)]
        assert norms[1] < norms[0]


def test_lanes_do_not_notice_what_happens_in_other_lanes():
    quiet, busy = population(), population()
    busy.germinate(0, 1, blueprints.get("bottleneck"))
    busy.at(2).learning_rate *= 3
    for _ in range(3):
        quiet.train(10)
        busy.train(10)
    assert worst(quiet.to_network(1), busy.to_network(1)) < 1e-6
    assert worst(quiet.to_network(2), busy.to_network(2)) > 1e-3
