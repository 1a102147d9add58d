"""`tamiyo update push` over a fleet of real agents, the broker being a stand-in: stages, and when they are stopped."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.cli.update_push import Result, _Maker, _run, _What
from tamiyo_runtime.cli.update_view import View, as_data, judge, show
from tamiyo_runtime.contracts.errors import BudgetError, IntegrityError
from tamiyo_runtime.signing import SigningKey
from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.topics import Address, Channel, parse
from tamiyo_runtime.update.apply import install
from tamiyo_runtime.update.desk import Desk
from tamiyo_runtime.update.record import Offer
from tamiyo_runtime.update.rollout import Phase, Rollout, Standing
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.store import Store
from tests.fleet import Device, load
from tests.power import CuttingDisk
from tests.updates import CHUNK_BYTES, NOW_S, OFFICE, STRANGER, fresh, opened, release

NAMES = tuple(f"pump-{number}" for number in range(8))


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("releases")
    return {version: release(folder, version) for version in (1, 2, 3)}


class Site:
    """Devices at a broker that passes everything on, and the line of an operator: each round everybody has a turn."""

    def __init__(self, bundle: Path, *names: str) -> None:
        self.devices: dict[str, Device] = {}
        for name in names:
            disk = CuttingDisk()
            store = Store.create(disk, fresh(name))
            install(store, bundle, lambda file, disk=disk: opened(disk, file), chunk_bytes=CHUNK_BYTES)
            self.devices[name] = Device(disk, clock_s=lambda: 1 << 33)
        self.silent: set[str] = set()
        self._read: dict[str, int] = dict.fromkeys(names, 0)
        self._draw = random.Random(0)

    def publish(self, topic: str, payload: bytes, retain: bool) -> bool:
        if self._draw.random() < 0.1:
            return False  # the connection's window is full
        address, channel = parse(topic)
        if address.device in self.devices:
            self.devices[address.device].air.inboxes.put(channel, payload)
        return True

    def receive(self, timeout_s: float) -> Iterator[tuple[str, bytes]]:
        for name, device in self.devices.items():
            if name in self.silent:
                continue
            device.step()
            said = device.air.sent[self._read[name] :]
            self._read[name] += len(said)
            yield from ((Address("pumps", name).topic(channel), payload) for channel, payload in said)

    def versions(self) -> list[int]:
        return [device.version for device in self.devices.values()]


def pushed(
    site: Site,
    what: _What,
    *,
    percents: list[int] | None = None,
    key: SigningKey = OFFICE,
    names: tuple[str, ...] = (),
    timeout_s: float = 30.0,
    stop_at: float = 0.02,
) -> Result:
    rollout = Rollout("pumps", names)
    desk = Desk(rollout, "pumps", site.publish, bytes_per_s=1e9)
    for name in site.devices:
        for channel, said in ((Channel.BIRTH, {"update": "all"}), (Channel.STATE, {"state": "online"})):
            desk.hear(Address("pumps", name).topic(channel), announcement.write(said, name))
    line: Any = site
    with View() as view:
        maker = _Maker(what, key, "pumps", names, 300)
        return _run(desk, line, view, maker, percents, stop_at=stop_at, timeout_s=timeout_s)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders are signed at the time that the devices have."""
    monkeypatch.setattr("time.time", lambda: float(1 << 33))
    assert NOW_S < 1 << 33


def offer(path: Path) -> _What:
    return _What(body={"bundle": str(path)}, bundle=path)


def test_a_good_bundle_reaches_the_whole_fleet_share_by_share(
    releases: dict[int, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(releases[1], *NAMES)
    result = pushed(site, offer(releases[2]), percents=[1, 50, 100])
    assert site.versions() == [2] * len(NAMES)
    least = min(draws(releases[2], *NAMES).values())
    assert [stage.percent for stage in result.stages] == [least, 50, 100]
    assert f"1 % of the fleet is none of the devices that are there; the first share is {least} %" in (
        capsys.readouterr().err
    )
    confirmed = [stage.phases[Phase.CONFIRMED] for stage in result.stages]
    assert 0 < confirmed[0] < confirmed[1] < confirmed[2] == len(NAMES)
    judge(result)
    show(result)
    assert "100 % of the fleet  8 confirmed" in capsys.readouterr().out
    assert as_data(result)["devices"]["pump-0"]["phase"] == "confirmed"


def test_a_bad_bundle_goes_no_further_than_its_first_share(releases: dict[int, Path]) -> None:
    site = Site(releases[1], *NAMES)
    result = pushed(site, offer(releases[3]), percents=[50, 100])
    assert result.stopped
    assert site.versions() == [1] * len(NAMES)
    tried = [name for name, device in site.devices.items() if 3 in device.switches]
    assert len(tried) == result.stages[0].phases[Phase.BACK]
    assert 0 < len(tried) < len(NAMES)
    for _ in range(3):
        list(site.receive(0.0))
    for device in site.devices.values():
        assert device.record.offer is not None
        assert device.record.offer.stage_percent == 0
    with pytest.raises(BudgetError, match="stopped at 50 %"):
        judge(result)


def test_what_goes_back_within_the_limit_does_not_stop_the_others(releases: dict[int, Path]) -> None:
    site = Site(releases[1], *NAMES)
    result = pushed(site, offer(releases[3]), percents=[50, 100], stop_at=1.0)
    assert not result.stopped
    assert result.stages[-1].phases[Phase.BACK] == len(NAMES)
    with pytest.raises(BudgetError, match="8 of 8 devices went back"):
        judge(result)


def test_what_was_rejected_before_is_tried_again_if_asked_for_once_in_a_push(
    releases: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(releases[1], *NAMES)
    pushed(site, offer(releases[3]))
    assert [device.switches for device in site.devices.values()] == [[3, 1]] * len(NAMES)
    monkeypatch.setattr("time.time", lambda: float(1 << 33) + 60)
    again = _What(body={"bundle": str(releases[3]), "again": True}, bundle=releases[3])
    result = pushed(site, again, percents=[50, 100], stop_at=1.0)
    assert result.stages[-1].phases == {Phase.BACK: len(NAMES)}
    assert [device.switches for device in site.devices.values()] == [[3, 1, 3, 1]] * len(NAMES)


def test_a_device_that_does_not_answer_holds_the_next_share_up(releases: dict[int, Path]) -> None:
    site = Site(releases[1], *NAMES)
    first = next(name for name, percent in draws(releases[2], *NAMES).items() if percent <= 50)
    site.silent.add(first)
    result = pushed(site, offer(releases[2]), percents=[50, 100], timeout_s=1.0)
    assert [stage.percent for stage in result.stages] == [50]
    with pytest.raises(BudgetError, match="1 of 8 devices have not come to an end"):
        judge(result)
    site.silent.clear()
    assert pushed(site, offer(releases[2]), percents=[50, 100]).stages[-1].ended
    assert site.versions() == [2] * len(NAMES)


def draws(path: Path, *names: str) -> dict[str, int]:
    """Of each device, the smallest share that it is among."""
    shelf = Shelf(path)
    made = Offer(sha256=shelf.sha256, size_bytes=shelf.size_bytes)
    return {name: made.least_percent(name) for name in names}


def test_two_devices_do_not_try_a_bad_bundle_at_once_though_no_early_share_holds_either(
    releases: dict[int, Path],
) -> None:
    names = [f"pump-{number}" for number in range(64)]  # keys are new each time, and two draws may be alike
    late = {percent: name for name, percent in draws(releases[3], *names).items() if percent > 10}
    first, second = sorted(late.items())[-2:]
    site = Site(releases[1], first[1], second[1])
    result = pushed(site, offer(releases[3]), percents=[1, 10, 100])
    assert [(stage.percent, stage.phases[Phase.BACK]) for stage in result.stages] == [(first[0], 1)]
    assert result.stopped
    assert site.devices[second[1]].switches == []


def test_a_push_is_stopped_when_too_many_went_back_whatever_becomes_of_the_rest(releases: dict[int, Path]) -> None:
    site = Site(releases[1], *NAMES)
    site.silent.add("pump-3")
    begun_s = time.monotonic()
    result = pushed(site, offer(releases[3]), percents=[100], stop_at=0.2, timeout_s=60.0)
    assert time.monotonic() - begun_s < 50.0
    assert result.stopped
    assert result.stages[0].phases[Phase.BACK] >= 2
    assert result.stages[0].phases[Phase.WAITING] == 1
    site.silent.clear()
    for _ in range(5):
        list(site.receive(0.0))
    assert site.devices["pump-3"].switches == []
    with pytest.raises(BudgetError, match="stopped at 100 %"):
        judge(result)


def test_a_share_in_which_nobody_can_try_the_bundle_is_no_reason_to_go_on(releases: dict[int, Path]) -> None:
    rollout = Rollout("pumps")
    for name, hears in (("pump-0", "orders"), ("pump-1", "all")):
        rollout.hear(Address("pumps", name).topic(Channel.BIRTH), announcement.write({"update": hears}, name))
    site: Any = Site(releases[1])
    with View() as view:
        desk = Desk(rollout, "pumps", site.publish, bytes_per_s=1e9)
        maker = _Maker(offer(releases[2]), OFFICE, "pumps", (), 300)
        result = _run(desk, site, view, maker, [1, 100], stop_at=0.0, timeout_s=30.0)
    assert [stage.percent for stage in result.stages] == [1]
    assert result.stages[0].phases == {Phase.BLIND: 1, Phase.AWAY: 1}
    with pytest.raises(BudgetError, match="stopped at 1 %: nobody tried the bundle"):
        judge(result)


def test_an_order_to_one_device_leaves_the_others_alone_and_a_strangers_is_refused(releases: dict[int, Path]) -> None:
    site = Site(releases[1], *NAMES)
    what = _What(body={"policy": False})
    result = pushed(site, what, names=("pump-3",))
    assert [row.phase for row in result.rows] == [Phase.OBEYED]
    assert [name for name, device in site.devices.items() if not device.use_policy] == ["pump-3"]
    refused = pushed(site, what, key=STRANGER)
    assert refused.stages[0].phases == {Phase.REFUSED: len(NAMES)}
    with pytest.raises(IntegrityError, match="8 of 8 devices refused"):
        judge(refused)


def test_when_nobody_is_there_that_is_no_success(releases: dict[int, Path]) -> None:
    site = Site(releases[1], "pump-0")
    rollout = Rollout("pumps")
    rollout.hear(Address("pumps", "pump-0").topic(Channel.BIRTH), announcement.write({"update": "all"}, "pump-0"))
    line: Any = site
    with View() as view:
        desk = Desk(rollout, "pumps", site.publish, bytes_per_s=1e9)
        site.silent.add("pump-0")
        maker = _Maker(offer(releases[2]), OFFICE, "pumps", (), 300)
        result = _run(desk, line, view, maker, None, stop_at=0.0, timeout_s=5.0)
    with pytest.raises(BudgetError, match="none of 1 devices was there"):
        judge(result)
    site.silent.clear()
    site.devices["pump-0"].step()
    assert site.devices["pump-0"].record.offer is not None  # what the broker kept for it


def test_two_operators_with_one_key_do_not_get_into_each_others_way(releases: dict[int, Path]) -> None:
    """At the same time on both clocks, which stand still here: the second counts on from what devices report."""
    site = Site(releases[1], *NAMES)
    first = pushed(site, _What(body={"policy": False}))
    for device in site.devices.values():
        device.air.sent.clear()
    site._read = dict.fromkeys(NAMES, 0)
    rollout = Rollout("pumps")
    for name, device in site.devices.items():
        device.agent.nudge()
        device.step()
        for channel, payload in device.air.sent:
            rollout.hear(Address("pumps", name).topic(channel), payload)
    desk = Desk(rollout, "pumps", site.publish, bytes_per_s=1e9)
    second = _Maker(_What(body={"policy": True}), OFFICE, "pumps", (), 300).make(desk, None)
    assert second.command.counter == first.sent.command.counter + 1


def test_on_a_terminal_a_long_remark_is_cut_so_that_the_table_can_be_drawn_again_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    row = Standing(device="pump-1", phase=Phase.REFUSED, remark="so it goes " * 18)
    with View() as view:
        view.show([row])
        view.show([row])
    drawn = terminal.getvalue().split("\x1b[3A\x1b[J")
    assert len(drawn) == 3
    assert drawn[0] == drawn[1]
    assert max(len(line) for line in drawn[0].splitlines()) < 40
    assert drawn[2] == ""


def test_the_stand_in_loads_what_was_installed(releases: dict[int, Path]) -> None:
    device = Site(releases[1], "pump-0").devices["pump-0"]
    assert load(device.disk, "a/bundle.tamiyo").bundle.manifest.version == 1
