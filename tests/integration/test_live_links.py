"""A real `tamiyo run` behind a real relay that is a simulated link: the ledger balances, whatever the link does.

Figures of the link are on its own clock, some of it many times as fast as the machine's; what is asserted is that
nothing is lost or doubled, and that the link did what its seed says.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from collector.service import Collector
from simulators.links import open_link
from simulators.links.lora import LIMIT_S_PER_HOUR, MAX_PAYLOAD_BYTES, PRESETS
from simulators.relay import Decision, LinkMedium, Outage, Relay
from simulators.relay.record import read_record
from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.signing import SigningKey
from tamiyo_runtime.transport.broker import start_broker
from tests import tiny
from tests.pki import Authority
from tests.secure_broker import MOSQUITTO, run_broker

pytestmark = [pytest.mark.broker, pytest.mark.slow]

FLEET = "field"
PATIENCE_S = 120.0
NEEDS_MOSQUITTO = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed; type: sudo apt-get install mosquitto"
)
CHAIN = "5g?seed=45"  # nine outages in 300 s, five of them longer than a second


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made, path = tiny.make(), tmp_path / "tiny.tamiyo"
    write_bundle(path, made.manifest, made.files, SigningKey.default(), overwrite=False)
    return path


class Told:
    """What a relay decided."""

    def __init__(self) -> None:
        self.all: list[Decision | Outage] = []

    @property
    def decisions(self) -> list[Decision]:
        return [one for one in self.all if isinstance(one, Decision)]

    @property
    def outages(self) -> list[Outage]:
        return [one for one in self.all if isinstance(one, Outage)]

    def computed_again(self, link: str) -> list[Decision]:
        medium = LinkMedium(open_link(link))
        return [medium.decide(one.at_s, one.direction, one.waiting_bytes) for one in self.decisions]


def run(bundle: Path, url: str, *more: object, prefix: Sequence[str] = ()) -> str:
    """A device until its source has ended and everything is delivered; what it printed."""
    command = [*prefix, sys.executable, "-m", "tamiyo_runtime.cli.main", "run", str(bundle), "--broker", url]
    words = ["--fleet", FLEET, "--source", "generator?count=0", "--state-dir", bundle.parent / "state", *more]
    result = subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def balanced(collector: Collector, at_least: int) -> None:
    (entry,) = collector.store.ledger()
    assert entry.balanced
    assert entry.sent == entry.stored >= at_least
    assert collector.store.devices()[0].state == "stopped"


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


@pytest.mark.parametrize(
    "kind",
    [
        "embedded",
        pytest.param(
            "mosquitto",
            marks=[
                pytest.mark.long,
                pytest.mark.skipif(
                    MOSQUITTO is None, reason="mosquitto is not installed; type: sudo apt-get install mosquitto"
                ),
            ],
        ),
    ],
)
def test_nothing_is_lost_or_doubled_over_a_chain_of_outages_that_cut_the_connection(
    kind: str, bundle: Path, tmp_path: Path
) -> None:
    told, speed = Told(), 25.0
    with (
        start_broker(kind, tmp_path / "broker") as broker,
        Collector(broker.url, tmp_path / "store.db", FLEET) as collector,
        Relay(
            ("127.0.0.1", port_of(broker.url)),
            medium=LinkMedium(open_link(CHAIN)),
            speed=speed,
            cut_after_s=1.0,
            tell=told.all.append,
        ) as relay,
    ):
        out = run(bundle, f"mqtt://127.0.0.1:{relay.port}", "--samples", 500, "--period-ms", 25)
        figures, moment = relay.figures(), relay.moment()
        balanced(collector, at_least=100)
        events = [record.event for _, record in collector.store.events()]
    assert moment is not None and moment.now_s > 300
    assert "500" in out
    expected = list(LinkMedium(open_link(CHAIN)).outages(0.0, told.outages[-1].ends_s))
    assert told.outages == expected
    assert len(told.outages) >= 9
    assert figures.cut >= 2  # of five; one that meets a device between two connections cuts nobody
    assert events.count(Event.LINK_LOST) >= 1
    assert told.decisions == told.computed_again(CHAIN)


@NEEDS_MOSQUITTO
def test_the_ledger_balances_over_tls_and_a_chain_of_outages(bundle: Path, tmp_path: Path) -> None:
    told, authority = Told(), Authority(tmp_path / "pki")
    for fleet in run_broker(tmp_path, authority):
        access = authority.issue("device-1")
        words = ["--broker-ca", access.ca, "--broker-cert", access.cert, "--broker-key", access.key]
        medium = LinkMedium(open_link(CHAIN))
        with (
            Collector(fleet.url, tmp_path / "store.db", FLEET, authority.issue("collector")) as collector,
            Relay(
                ("127.0.0.1", port_of(fleet.url)), medium=medium, speed=25.0, cut_after_s=1.0, tell=told.all.append
            ) as relay,
        ):
            run(bundle, f"mqtts://127.0.0.1:{relay.port}", "--samples", 300, "--period-ms", 25, *words)
            figures = relay.figures()
            balanced(collector, at_least=60)
    assert figures.cut >= 1
    assert figures.connections > figures.cut
    assert told.decisions == told.computed_again(CHAIN)


def test_the_ledger_balances_at_the_pace_and_with_the_losses_of_lora(bundle: Path, tmp_path: Path) -> None:
    link, told = PRESETS[9](loss_probability=0.1, seed=3), Told()
    with (
        start_broker("auto", tmp_path / "broker") as broker,
        Collector(broker.url, tmp_path / "store.db", FLEET) as collector,
        Relay(("127.0.0.1", port_of(broker.url)), medium=LinkMedium(link), speed=200.0, tell=told.all.append) as relay,
    ):
        url = f"mqtt://127.0.0.1:{relay.port}"
        run(bundle, url, "--samples", 200, "--period-ms", 25)
        balanced(collector, at_least=100)
        assert relay.figures().cut == 0
    assert link.worst_hour_s() <= LIMIT_S_PER_HOUR
    assert max(one.size_bytes for one in told.decisions) <= MAX_PAYLOAD_BYTES[9]
    assert sum(one.tries - 1 for one in told.decisions) > 0
    assert max(one.delay_s for one in told.decisions) > 30  # waited for the duty cycle
    assert told.decisions == told.computed_again("lora-eu868-sf9?loss_probability=0.1&seed=3")


@pytest.fixture
def room() -> Iterator[tuple[str, str]]:
    """A network namespace whose only way out is a cable to us: its name, and our address on that cable."""
    ip, name = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), f"tamiyo-{os.getpid()}"
    if ip is None or os.geteuid() != 0:
        pytest.skip("needs root and iproute2; type: sudo apt-get install iproute2, then run this test with sudo -E")

    def do(*words: str) -> None:
        subprocess.run([ip, *words], check=True, capture_output=True, text=True)

    ours, theirs = f"tm{os.getpid()}a"[-15:], f"tm{os.getpid()}b"[-15:]
    try:
        do("netns", "add", name)
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"no network namespaces here ({exc.stderr.strip()}); a container needs CAP_SYS_ADMIN for them")
    try:
        do("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        do("addr", "add", "10.203.77.1/30", "dev", ours)
        do("link", "set", ours, "up")
        do("-n", name, "addr", "add", "10.203.77.2/30", "dev", theirs)
        do("-n", name, "link", "set", theirs, "up")
        yield name, "10.203.77.1"
    finally:
        subprocess.run([ip, "netns", "del", name], check=False)  # the cable goes with it


def test_a_device_in_a_network_of_its_own_reaches_its_broker_by_the_relay_command_alone(
    bundle: Path, tmp_path: Path, room: tuple[str, str]
) -> None:
    name, address = room
    record, inside = tmp_path / "link.jsonl", ["ip", "netns", "exec", name]
    with (
        start_broker("auto", tmp_path / "broker") as broker,
        Collector(broker.url, tmp_path / "store.db", FLEET) as collector,
    ):
        probe = f"import socket; socket.create_connection(('127.0.0.1', {port_of(broker.url)}), 1)"
        outcome = subprocess.run([*inside, sys.executable, "-c", probe], capture_output=True, check=False)
        assert outcome.returncode != 0  # there is no other way
        words = ["--listen", f"{address}:0", "--to", f"127.0.0.1:{port_of(broker.url)}", "--link", "nb-iot?seed=1"]
        command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "link", "relay", *words, "--speed", "10"]
        process = subprocess.Popen(
            [*command, "--record", str(record)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split()[2].rpartition(":")[2]
            run(bundle, f"mqtt://{address}:{port}", "--samples", 100, "--period-ms", 25, prefix=inside)
            balanced(collector, at_least=20)
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "0 reset" in out
    made = read_record(record)
    assert made.computed_again() == made.decisions
    assert sum(one.size_bytes for one in made.decisions) > 1000
