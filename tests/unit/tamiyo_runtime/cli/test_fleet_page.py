"""The page of a simulated fleet: every section there, nothing obeyed of a scenario's text, small, the same bytes."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from simulators.fleet.detail.run import run_detail
from simulators.fleet.engine import run
from simulators.fleet.resolve import resolve
from simulators.fleet.result import Devices, FleetResult
from simulators.fleet.scenario import (
    Battery,
    Fault,
    FaultKind,
    Gateway,
    Group,
    Placement,
    Scenario,
    Workload,
)
from tamiyo_runtime.cli.fleet_page.page import render
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.budget import Budget

SECTIONS = [
    "The fleet",
    "Delivery",
    "Losses by cause",
    "The field",
    "Delivery by data rate",
    "Delivery by distance",
    "Hour by hour",
    "Gateways",
    "Time on the air in the busiest hour",
    "Latency",
    "Energy",
    "Batteries",
    "Limits",
    "The scenario",
]
HOSTILE = 'soil <script>alert("x")</script>'


def soil(count: int = 60, **changes: object) -> Group:
    return dataclasses.replace(
        Group(
            name="soil",
            count=count,
            link="lora-eu868",
            placement=Placement(radius_m=9000.0),
            workload=Workload(report_period_s=600, payload_bytes=24, inference_period_s=60),
            latency_ms=4.0,
            energy_uj=160.0,
            sleep_mw=0.05,
            battery=Battery(capacity_mah=2400),
        ),
        **changes,  # type: ignore[arg-type]
    )


METERS = Group(
    name="meters",
    count=20,
    link="nb-iot",
    workload=Workload(report_period_s=3600),
    placement=Placement(radius_m=2500.0),
)


def scenario(*groups: Group, days: float = 1.0, sample: int = 0) -> Scenario:
    return Scenario(
        name="orchard",
        days=days,
        sample=sample,
        devices=groups,
        gateways=(Gateway(), Gateway(x_m=4000.0, y_m=-3000.0)),
        faults=(Fault(kind=FaultKind.GATEWAY_DOWN, gateway=0, at_h=8, for_h=4),),
    )


@cache
def whole() -> FleetResult:
    return run(resolve(scenario(soil(), METERS)))


def titles(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def crowd(result: FleetResult, times: int) -> FleetResult:
    """The same fleet so many times over, each shifted a little: what a large run looks like to the page."""
    columns = {name: np.tile(values, times) for name, values, _, _ in result.devices.columns()}
    shift = np.repeat(np.arange(times), len(result.devices)) * 3.0
    columns["x_m"], columns["group"] = columns["x_m"] + shift, np.zeros(shift.size, dtype=np.int64)
    group = dataclasses.replace(result.scenario.devices[0], count=shift.size)
    return dataclasses.replace(
        result,
        scenario=dataclasses.replace(result.scenario, devices=(group,)),
        groups=result.groups[:1],
        devices=Devices(**columns),
    )


def test_the_page_has_every_section_in_order_and_says_that_all_is_simulated() -> None:
    page = render(whole())
    assert titles(page) == SECTIONS
    assert "Every figure on this page is simulated" in page
    assert page.count("(simulated)") >= 10


def test_the_same_run_gives_the_same_bytes() -> None:
    again = run(resolve(scenario(soil(), METERS)))
    assert render(whole()) == render(again)


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    page = render(run(resolve(scenario(soil(name=HOSTILE)))))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=", page)
    assert "default-src 'none'" in page


def test_every_drawing_is_well_formed_and_says_what_it_shows() -> None:
    drawings = re.findall(r"<svg.*?</svg>", render(whole()), flags=re.DOTALL)
    assert len(drawings) >= 8
    for drawing in drawings:
        assert ET.fromstring(drawing).attrib["aria-label"]


def test_the_delivery_that_is_printed_is_that_of_the_run() -> None:
    devices = whole().devices
    part = whole().rows_of(0)
    share = devices.delivered[part].sum() / devices.messages[part].sum()
    assert f"{100 * share:.2f} %" in render(whole())


def test_losses_are_told_by_cause_with_their_counts() -> None:
    down = int(whole().devices.gateway_down.sum())
    assert down > 0
    page = render(whole())
    assert f"{down:,} of" in page
    assert "gateway down" in page


def test_the_fault_is_marked_where_it_was() -> None:
    assert "gateway-down: gateway 0" in render(whole())


def test_every_device_is_on_the_map_with_its_figures() -> None:
    page = render(whole())
    field = page[page.index("<h2>The field") : page.index("<h2>Delivery by data rate")]
    assert len(re.findall(r"of [\d,]+ messages arrived", field)) == 80
    assert "soil 59\n" in field
    assert field.count(">G0<") == field.count(">G1<") == 1


def test_a_scale_bar_has_a_round_length() -> None:
    page = render(whole())
    assert re.search(r">[125]0* k?m</text>", page)


def test_a_single_device_has_a_page() -> None:
    alone = render(run(resolve(scenario(soil(1)))))
    assert titles(alone) == SECTIONS
    assert "1 device in 1 group" in alone


def test_a_fleet_on_cellular_links_alone_has_no_map_without_places_and_no_airtime() -> None:
    group = dataclasses.replace(METERS, placement=None)
    page = render(run(resolve(Scenario(name="meters", devices=(group,), gateways=()))))
    assert "The field" not in titles(page)
    assert "Time on the air in the busiest hour" not in titles(page)
    assert "from the mains" in page


def test_a_hundred_thousand_devices_are_cells_of_a_map_and_stay_below_two_megabytes() -> None:
    large = crowd(run(resolve(scenario(soil(400)))), 250)
    page = render(large)
    assert len(large.devices) == 100_000
    assert len(page) < 2_000_000
    field = page[page.index("<h2>The field") : page.index("<h2>Delivery by data rate")]
    counts = [int(count.replace(",", "")) for count in re.findall(r"<title>([\d,]+) devices, ", field)]
    assert sum(counts) == 100_000


def test_limits_that_are_broken_are_listed_with_the_devices_that_broke_them() -> None:
    strict = Budget(power_mw=0.001, energy_burst_uj=1000.0)
    page = render(run(resolve(scenario(soil(budget=strict)))))
    assert "inferences draw more than their power budget" in page
    assert "60 of 60 devices broke a limit" in page


def test_a_long_run_is_told_day_by_day() -> None:
    page = render(run(resolve(scenario(soil(2), days=20.0))))
    assert "Day by day" in titles(page)


def test_a_device_that_never_sends_is_shown_as_such() -> None:
    silent = soil(3, workload=Workload(report_period_s=86_400.0 * 4000))
    page = render(run(resolve(scenario(silent))))
    assert "nothing of 0 messages arrived" in page
    assert "Nothing was sent" in page


def test_devices_in_detail_stand_beside_the_vector_path() -> None:
    asked = resolve(scenario(soil(10, workload=Workload(report_period_s=600, payload_bytes=40)), METERS, sample=2))
    detail = run_detail(asked)
    page = render(run(asked), detail)
    assert titles(page)[-4:-1] == ["Limits", "Devices in detail", "Records that wait"]
    assert "meters was not run in detail: " in page
    part = page[page.index("<h2>Devices in detail") : page.index("<h2>Records that wait")]
    for place, number in enumerate(detail.devices.device.tolist()):
        assert f"<td>soil {number}</td>" in part
        assert f">{int(detail.devices.frames[place]):,}<" in part


def test_inferences_in_detail_are_told_by_configuration(own_bundle: Path, tmp_path: Path) -> None:
    profile = tmp_path / "test-board.toml"
    text = (files("device_profiles") / "data/cortex-m4.toml").read_text()
    profile.write_text(text.replace('"cortex-m4"', '"test-board"'))
    group = soil(
        3,
        network=str(own_bundle),
        profile=str(profile),
        latency_ms=None,
        energy_uj=None,
        workload=Workload(report_period_s=600, payload_bytes=40, inference_period_s=30),
    )
    asked = resolve(scenario(group, days=0.25, sample=1))
    detail = run_detail(asked)
    page = render(run(asked), detail)
    assert "Inferences in detail" in titles(page)
    name, count = next(iter((name, count) for name, count in detail.configurations[0].items() if count))
    assert f"{name} {count:,}" in page


def test_a_sample_that_could_not_be_run_in_detail_says_why() -> None:
    asked = resolve(Scenario(name="meters", devices=(METERS,), gateways=(), sample=1))
    detail = run_detail(asked)
    page = render(run(asked), detail)
    assert "None was run in detail. meters: " in page


def test_simulate_writes_the_page_and_names_it_and_does_not_replace_one_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pages" / "fleet.html"
    asked = ["simulate", "--link", "lora-eu868", "--fleet", "5", "--days", "0.25", "--report", str(path)]
    assert main(asked) == 0
    assert str(path) in capsys.readouterr().out
    written = path.read_text()
    assert titles(written)[0] == "The fleet"
    assert main(asked) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*asked, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == [str(path)]
    assert path.read_text() == written


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1100, 400])
def test_a_browser_shows_it_without_complaint(tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None
    page = tmp_path / "page.html"
    page.write_text(render(whole()))
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--enable-logging=stderr", "--log-level=0", f"--window-size={width},900", "--virtual-time-budget=2000"),
        *("--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert titles(done.stdout) == SECTIONS
