"""Every record arrives once over a link that loses a share of its frames, until it loses all of them."""

from __future__ import annotations

import pytest

from simulators.delivery import deliver
from tamiyo_runtime.contracts.errors import SchemaError


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15, 0.4])
def test_what_is_lost_is_sent_again_until_all_of_it_is_stored_once(loss: float) -> None:
    day = deliver(loss=loss, seed=3)
    assert (day.made, day.stored, day.share) == (144, 144, 1.0)
    assert (day.frames > day.made) == (loss > 0)
    assert (day.repeated > 0) == (loss > 0), "a lost ack has its frame come in again, and be stored once"


def test_frames_grow_with_loss_as_each_try_is_lost_by_itself() -> None:
    days = [deliver(loss=0.3, seed=seed, hours=12) for seed in range(3)]
    # a try succeeds when neither frame nor ack is lost: .7 squared, so 72 records take 147 frames on average
    assert 120 < sum(day.frames for day in days) / len(days) < 180


def test_nothing_arrives_over_a_link_that_loses_everything() -> None:
    day = deliver(loss=1.0, seed=3, hours=2, patience_hours=1)
    assert day.share == 0.0
    assert day.frames > day.made


def test_a_day_repeats_itself_by_its_seed() -> None:
    one, again, other = (deliver(loss=0.15, seed=seed, hours=6) for seed in (5, 5, 6))
    assert one == again
    assert one != other


@pytest.mark.parametrize("loss", [-0.1, 1.1, float("nan")])
def test_a_loss_that_is_no_share_is_refused(loss: float) -> None:
    with pytest.raises(SchemaError, match="is not a share"):
        deliver(loss=loss, seed=0)
