"""`tamiyo link` as a user has it: what it lists, foretells and relays, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.links import known_links
from simulators.relay.record import read_record
from tamiyo_runtime.cli.link_relay import endpoint
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import UsageError
from tests.sockets import PATIENCE_S, Echo, eventually, hear


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["link", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_has_every_link_with_its_options_and_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    entries = {entry["link"]: entry for entry in printed(capsys, "list")["links"]}
    assert set(entries) == {name for name, _ in known_links()}
    assert entries["lte"]["options"] == ["distance_m", "speed_m_s", "seed"]
    assert entries["ethernet"]["sustainable_bytes_per_s"] is None
    assert entries["lora-eu868"]["payload_bytes"] == 222
    assert entries["lora-eu868"]["sustainable_bytes_per_s"] == pytest.approx(222 / 41, rel=0.03)
    assert not entries["lora-eu868"]["carries_single_samples"]
    assert entries["lora-eu868+contact"]["carries_single_samples"]
    assert all(entry["sources"] for name, entry in entries.items() if name != "ethernet")
    assert main(["link", "list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in entries)
    assert "TR 38.901" in text


def test_a_trace_is_the_same_each_time_and_says_that_it_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    trace = printed(capsys, "trace", "5g?seed=1", "--seconds", "600", "--every", "2")
    assert trace == printed(capsys, "trace", "5g?seed=1", "--seconds", "600", "--every", "2")
    assert trace["simulated"] is True
    assert len(trace["decisions"]) == trace["outlook"]["pieces"] > 250
    assert len(trace["outages"]) == trace["outlook"]["outages"] > 0
    assert main(["link", "trace", "5g?seed=1", "--seconds", "600", "--every", "2"]) == 0
    text = capsys.readouterr().out
    assert "(simulated" in text
    assert f"pieces   {trace['outlook']['pieces']}," in text
    assert f"{trace['outages'][0]['begins_s']:g} to {trace['outages'][0]['ends_s']:g} s" in text


def test_a_trace_is_drawn_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    plot, record = tmp_path / "t.svg", tmp_path / "t.jsonl"
    words = ["link", "trace", "5g?seed=1", "--seconds", "300", "--plot", str(plot), "--record", str(record)]
    assert main(words) == 0
    assert f"--replay {record}" in capsys.readouterr().out
    assert plot.read_text().startswith("<svg")
    assert "delay, ms" in plot.read_text()
    made = read_record(record)
    assert made.computed_again() == made.decisions
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    drawn = plot.read_bytes()
    assert main([*words, "--overwrite"]) == 0
    assert plot.read_bytes() == drawn


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trace", "lta"], "did you mean lte"),
        (["trace", "lte?sed=1"], "did you mean seed"),
        (["trace", "lte?seed=1.5"], "not a whole number"),
        (["trace", "lora-eu868?seed=1.5"], "not a whole number"),
        (["trace", "ethernet?seed=1"], "has no options"),
        (["trace", "lte?distance_m=90000"], "90000"),
        (["trace", "lte", "--seconds", "0"], "--seconds: must be above 0"),
        (["trace", "lte", "--every", "nan"], "--every: must be finite"),
        (["trace", "lte", "--bytes", "0"], "--bytes: must be above 0"),
        (["trace", "lte", "--plot", "t.png"], "is not an .svg"),
        (["relay", "--to", "localhost", "--link", "lte"], "--to 'localhost' is not HOST:PORT"),
        (["relay", "--to", "h:1", "--listen", ":x", "--link", "lte"], "--listen ':x' is not HOST:PORT"),
        (["relay", "--to", "h:1"], "either --link or --replay"),
        (["relay", "--to", "h:1", "--link", "lte", "--replay", "x"], "either --link or --replay"),
        (["relay", "--to", "h:1", "--link", "lrte"], "did you mean lte"),
        (["relay", "--to", "h:1", "--replay", "none.jsonl"], "not found"),
        (["relay", "--to", "h:1", "--link", "lte", "--speed", "0"], "--speed 0 is not in 0.001 to 100,000"),
        (["relay", "--to", "h:1", "--link", "lte", "--speed", "1e308"], "--speed 1e+308 is not in"),
        (["relay", "--to", "h:1", "--link", "lte", "--cut-after", "-1"], "--cut-after -1.0 cannot be"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["link", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "hint: " in err


def test_a_server_that_is_away_a_port_that_is_taken_and_a_record_that_is_there_are_told_before_anything_starts(
    echo: Echo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        away = gone.getsockname()[1]
    there = f"127.0.0.1:{echo.address[1]}"
    record = tmp_path / "r.jsonl"
    words = ["link", "relay", "--link", "lte", "--record", str(record)]
    assert main([*words, "--to", f"127.0.0.1:{away}"]) == 2
    assert "Connection refused" in capsys.readouterr().err
    assert main([*words, "--to", there, "--listen", there]) == 2
    err = capsys.readouterr().err
    assert "cannot be used: Address already in use\n" in err
    assert not record.exists()
    record.write_text("mine")
    assert main([*words, "--to", there, "--listen", "127.0.0.1:0"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["link", "relay", "--to", there, "--replay", str(record)]) == 2
    assert "line 1: not valid JSON" in capsys.readouterr().err


def started(*arguments: object) -> tuple[subprocess.Popen[str], int, str]:
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "link", "relay", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    stream = process.stderr if "--json" in arguments else process.stdout
    assert stream is not None
    line = stream.readline()
    assert line.startswith("relay at 127.0.0.1:"), line
    return process, int(line.split()[2].rpartition(":")[2]), line


def said(port: int, message: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(message)
        assert hear(connection, len(message)) == message


def test_ctrl_c_ends_a_relay_with_a_summary_and_its_record_is_replayed(echo: Echo, tmp_path: Path) -> None:
    to, record = f"127.0.0.1:{echo.address[1]}", tmp_path / "r.jsonl"
    process, port, line = started("--to", to, "--link", "lte?seed=4", "--speed", 10, "--record", record)
    assert "lte-cat4 (simulated" in line
    assert "10 times as fast" in line
    said(port, b"x" * 3000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "2.93 KiB up, 2.93 KiB down" in out
    assert "connections   1, 0 reset" in out
    assert f"--replay {record}" in out
    assert "up 2.93 KiB" in err
    made = read_record(record)
    assert made.computed_again() == made.decisions
    assert len(made.decisions) >= 2

    process, port, line = started("--to", to, "--replay", record, "--speed", 10, "--cut-after", 30, "--json")
    assert "record of lte-cat4" in line
    said(port, b"y" * 10)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    data = json.loads(out)
    assert (data["bytes_up"], data["bytes_down"], data["connections"], data["reset"]) == (10, 10, 1, 0)
    assert data["pieces"] == 2
    assert data["delay_s"]["median"] > 0


def test_a_relay_in_an_outage_counts_what_it_cut_and_whom_the_server_refused(
    echo: Echo, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, so that the handlers of signals are seen to be put back as well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def use() -> None:
        try:
            eventually(lambda: _listens(port))
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
                connection.sendall(b"into the outage")
                with contextlib.suppress(ConnectionResetError):
                    connection.recv(1)  # cut
            said(port, b"after it")
            echo.close()
            away = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
            with away, contextlib.suppress(ConnectionResetError):
                away.recv(1)
            time.sleep(0.5)  # two looks of the live line
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=use)
    thread.start()
    words = ["--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{echo.address[1]}", "--link", "lte?seed=3"]
    assert main(["link", "relay", *words, "--speed", "5", "--cut-after", "4"]) == 0
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    out, err = capsys.readouterr()
    assert ", 0 reset" not in out
    assert "refused by the server" in out
    assert "refused by the server" in err
    assert "outages       1, 9 s in all" in out
    assert "8 B up" in out


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's disk without room")
def test_a_relay_whose_record_finds_no_room_ends_and_says_so(echo: Echo, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["link", "relay", "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{echo.address[1]}", "--link", "lte"]
    assert main([*words, "--record", "/dev/full", "--overwrite"]) == 2
    assert "ends too early: No space left" in capsys.readouterr().err


def test_endpoints_have_names_and_addresses_of_both_kinds() -> None:
    assert endpoint("broker:1883", "--to") == ("broker", 1883)
    assert endpoint("[::1]:1883", "--to") == ("::1", 1883)
    for wrong in ("mqtt://broker:1883", "broker:", ":1883", "broker:99999", "broker:-1"):
        with pytest.raises(UsageError, match="HOST:PORT"):
            endpoint(wrong, "--to")
