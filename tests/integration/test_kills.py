"""SIGKILL for the device, the broker and the collector, at random moments, all three in one campaign.

The short campaigns are part of every run of the tests; the long one kills 200 times. Moments are drawn from a seeded
generator; what the operating system does meanwhile is not.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.diary import Verdict
from tests.faults.site import Site

pytestmark = [pytest.mark.broker, pytest.mark.slow]

VICTIMS = ("device", "broker", "collector")


def need(kind: str) -> None:
    if kind == "mosquitto" and not (shutil.which(kind) or shutil.which(kind, path="/usr/sbin:/usr/local/sbin")):
        pytest.skip("mosquitto is not installed; type: sudo apt-get install mosquitto")


def campaign(folder: Path, kind: str, *, kills: int, seed: int, how: signal.Signals = signal.SIGKILL) -> Verdict:
    need(kind)
    rng = random.Random(seed)
    victims = [VICTIMS[number % 3] for number in range(kills)]
    rng.shuffle(victims)
    with Site(kind, folder) as site:
        site.start("collector")
        site.start("device")
        for victim in victims:
            time.sleep(rng.uniform(0.02, 0.9))
            site.revive()
            site.kill(victim, how)
            time.sleep(rng.choice((0.0, rng.uniform(0.0, 0.4))))
            site.start(victim)
        time.sleep(1.0)
        site.revive()
        verdict = site.finish()
    print(f"{kind}, {how.name} for {dict(Counter(victims))}: {verdict}")
    assert verdict.boots > victims.count("device") / 4  # it was up often enough to have something to lose
    assert verdict.committed > 20 * kills
    assert verdict.lost == {}
    return verdict


def test_nothing_is_lost_or_doubled_when_all_three_are_killed_at_random(tmp_path: Path) -> None:
    campaign(tmp_path, "mosquitto", kills=6, seed=1)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "kills"), [("mosquitto", 200), ("embedded", 30)])
def test_nothing_is_lost_or_doubled_in_two_hundred_kills(tmp_path: Path, kind: str, kills: int) -> None:
    campaign(tmp_path, kind, kills=kills, seed=2)


def test_a_clean_restart_of_the_broker_costs_nothing(tmp_path: Path) -> None:
    restarts(tmp_path, 3)


@pytest.mark.long
def test_fifty_clean_restarts_of_the_broker_cost_nothing(tmp_path: Path) -> None:
    restarts(tmp_path, 50)


def restarts(folder: Path, count: int) -> None:
    need("mosquitto")
    rng = random.Random(3)
    with Site("mosquitto", folder) as site:
        site.start("collector")
        site.start("device")
        time.sleep(1.0)
        for _ in range(count):
            time.sleep(rng.uniform(0.1, 0.5))
            site.kill("broker", signal.SIGTERM)
            site.start("broker")
        assert site.ended() == []  # a restart is nothing to end for
        verdict = site.finish()
    print(f"{count} clean restarts: {verdict}")
    assert verdict.boots == 1
    assert verdict.committed > 100
    assert verdict.lost == {}
