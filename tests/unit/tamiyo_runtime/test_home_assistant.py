"""What Home Assistant is told: messages as its documentation has them, and figures that are those of the window."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.records import Window
from tamiyo_runtime.home_assistant import ENTITIES, HomeAssistant, discovery, figures
from tamiyo_runtime.transport import Address, Channel
from tamiyo_runtime.transport.connection import Connection
from tests.unit.tamiyo_runtime.cli.conftest import Tamiyo, own_bundle, tamiyo  # noqa: F401 - fixtures

ADDRESS = Address("farm", "barn-3")


def window(t_ms: int = 0, *, inferences: int = 4) -> Window:
    return Window(
        t_ms=t_ms,
        duration_ms=2000,
        inferences=inferences,
        skipped=1,
        deadline_misses=0,
        latency_p50_us=1500,
        latency_p95_us=2500,
        latency_max_us=3000,
        energy_uj=8000,
        labelled=min(inferences, 4),
        correct=min(inferences, 3),
        bucket_permille=1000,
        throttle_permille=1250,
        counts={"c00": 1, "c11": inferences - 1} if inferences else {},
    )


def test_every_entity_reads_a_figure_that_is_sent_and_is_available_only_while_the_device_is_online() -> None:
    cards, sent = discovery(ADDRESS, board="Pi 4", bundle="digits 0a0b0c0d"), figures(window())
    assert len(cards) == len(ENTITIES) == len({card["unique_id"] for card in cards.values()})
    for topic, card in cards.items():
        assert re.fullmatch(r"homeassistant/sensor/barn-3/[a-z0-9_]+/config", topic)
        (key,) = re.findall(r"^{{ value_json\.(\w+) }}$", card["value_template"])
        assert sent.pop(key) is not None
        assert card["state_topic"] == "tamiyo/v1/farm/barn-3/ha"
        assert card["availability_topic"] == "tamiyo/v1/farm/barn-3/state"
        assert "value_json.state == 'online'" in card["availability_template"]
        assert card["device"]["identifiers"] == ["tamiyo_farm_barn-3"]
    assert not sent


def test_figures_are_those_of_the_window_and_unknown_ones_are_null() -> None:
    known = figures(window())
    assert known == {
        "configuration": "c11",
        "latency_p50_ms": 1.5,
        "latency_p95_ms": 2.5,
        "power_mw": 4.0,
        "accuracy": 75.0,
        "inferences": 4,
        "skipped": 1,
        "deadline_misses": 0,
        "throttle": 1.25,
    }
    idle = figures(window(inferences=0))
    assert [idle[key] for key in ("configuration", "latency_p50_ms", "accuracy")] == [None, None, None]
    json.dumps(idle, allow_nan=False)


def test_windows_are_thinned_out_to_one_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(Connection, "publish", lambda self, topic, payload, **_: bool(sent.append(topic)) or True)
    home = HomeAssistant("mqtt://h", ADDRESS, board="b", bundle="x")
    for second in range(0, 60, 2):
        home.show(window(second * 1000))
    assert sent == [ADDRESS.topic(Channel.HOME)] * 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--broker", "embedded"], "needs its broker"),
        (["--broker", "mqtt://127.0.0.1:1", "--link", "lora-eu868", "--device", "simulated"], "has no room for"),
    ],
)
def test_where_it_cannot_work_it_is_refused(
    tamiyo: Tamiyo,  # noqa: F811
    own_bundle: Path,  # noqa: F811
    options: list[str],
    words: str,
) -> None:
    outcome = tamiyo("run", own_bundle, "--home-assistant", *options)
    assert outcome.code == 2
    assert words in outcome.err
