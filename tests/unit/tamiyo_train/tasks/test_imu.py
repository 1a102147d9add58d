"""Stage 6: users of their own, a sensor with faults, and activities that are neither trivial nor hopeless."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_train.tasks import Task
from tamiyo_train.tasks.imu import draw, imu, statistics
from tamiyo_train.tasks.imu.activities import ACTIVITIES, RATE_HZ, motion
from tamiyo_train.tasks.imu.sensor import LIMITS, PACKET, STEPS, sensed
from tamiyo_train.tasks.imu.task import MEMBERS, WINDOWS
from tamiyo_train.tasks.imu.users import generator_of, turned, user

NAMES = tuple(ACTIVITIES)


@pytest.fixture(scope="module")
def task() -> Task:
    return imu()


def moved(number: int, name: str, length: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    rng = generator_of(number, NAMES.index(name), 0)
    return motion(user(number), ACTIVITIES[name], length, rng=rng)


def test_user_seven_is_the_same_in_any_company() -> None:
    alone, _ = draw([7], windows=2)
    together, owners = draw([3, 7, 30], windows=2)
    assert np.array_equal(alone.x, together.x[owners == 7])


def test_every_split_has_each_activity_equally_often_and_users_of_its_own(task: Task) -> None:
    for name, split in task.splits().items():
        assert np.bincount(split.y).tolist() == [WINDOWS * len(MEMBERS[name])] * 6
    rows = [row.tobytes() for split in task.splits().values() for row in split.x]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_walk_has_gravity_on_average_and_the_users_step_in_its_spectrum(name: str) -> None:
    for number in range(6):
        force, _ = moved(number, name)
        assert np.linalg.norm(force.mean(axis=0)) == pytest.approx(1.0, abs=0.05)
        power = np.abs(np.fft.rfft(force[:, 2] - force[:, 2].mean())) ** 2
        at = np.argmax(power[: int(2.6 * 1024 / RATE_HZ)]) * RATE_HZ / 1024
        low, high = ACTIVITIES[name].pace
        assert low * user(number).step_hz - 0.15 < at < high * user(number).step_hz + 0.15


@pytest.mark.parametrize("name", NAMES[3:])
def test_held_postures_are_one_gravity_and_little_else(name: str) -> None:
    for number in range(6):
        force, rate = moved(number, name)
        assert np.linalg.norm(force, axis=1) == pytest.approx(1.0, abs=0.12)
        assert np.abs(rate).std() < 0.05


def test_only_who_lies_has_gravity_across_the_trunk() -> None:
    for number in range(10):
        assert abs(moved(number, "lying")[0][:, 2].mean()) < 0.6
        for name in ("sitting", "standing", "walking"):
            assert moved(number, name)[0][:, 2].mean() > 0.6


def test_mountings_are_rotations() -> None:
    mounting = turned(0.3, -0.2, 1.1)
    assert np.allclose(mounting @ mounting.T, np.eye(3))
    assert np.linalg.det(mounting) == pytest.approx(1.0)


def test_a_lost_packet_repeats_what_arrived_last() -> None:
    number = max(range(20), key=lambda number: user(number).lost)
    steps = np.arange(512.0)[:, None] / 1000 * np.ones(3)
    found = sensed(steps, steps, user(number), noise=10.0, rng=np.random.default_rng(1))
    held = (np.diff(found, axis=1) == 0).all(axis=0)
    runs = held[: 63 * PACKET].reshape(-1, PACKET).all(axis=1)
    assert 0.2 < runs.mean() < 0.9
    assert not (np.diff(sensed(steps, steps, user(number), noise=0.0, rng=np.random.default_rng(1))[2]) == 0).all()


def test_the_sensor_has_steps_and_an_end() -> None:
    far = np.full((16, 3), 30.0)
    found = sensed(far, -far, user(0), noise=0.0, rng=np.random.default_rng(0))
    assert np.abs(found).max() == LIMITS.max()
    assert np.array_equal(np.rint(found.T / STEPS), (found.T / STEPS))


def linear(task: Task) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(statistics(task.train.x), task.train.y)
    return float(model.score(statistics(task.test.x), task.test.y))


def test_a_linear_rule_on_statistics_does_neither_well_nor_badly(task: Task) -> None:
    assert 0.83 < linear(task) < 0.91


def test_users_who_wear_it_alike_are_easier() -> None:
    def score(spread: float) -> float:
        (train, _), (test, _) = (
            draw(range(30), windows=4, spread=spread),
            draw(range(60, 80), windows=4, spread=spread),
        )
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        return float(model.fit(statistics(train.x), train.y).score(statistics(test.x), test.y))

    assert score(0.0) > score(2.0) + 0.03


@pytest.mark.parametrize("bad", [{"windows": 0}, {"noise": -1.0}, {"spread": float("nan")}])
def test_bad_parameters_are_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(SchemaError, match=next(iter(bad))):
        draw([0], **bad)
