"""The report of a bundle: every section there, nothing invented, nothing of a bundle's text obeyed, the same bytes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporters.card import card
from exporters.figures import wilson
from exporters.html.bundle_page import read_report, render
from exporters.html.charts import Bar, Piece, Point, bars, network, scatter
from exporters.html.svg import Drawing, ticks
from exporters.ops.table import Placement
from exporters.report import (
    SCHEMA,
    ConfigurationReport,
    ExportReport,
    KernelReport,
    LayerReport,
    PartReport,
    RunnableReport,
    SensitivityReport,
    Status,
    StepReport,
    VariantReport,
    VendorReport,
)
from exporters.vendors.compiler import VendorCost
from tamiyo_runtime.bundle import REPORT, Bundle, write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.cost import Estimate, Source
from tamiyo_runtime.contracts.errors import IntegrityError, SchemaVersionError
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.signing import Trust
from tests import tiny
from tests.attacker import KEY

TITLES = (
    "The network",
    "Accuracy against cost: int8",
    "Configurations that were considered",
    "Other forms in the bundle",
    "What each layer costs",
    "How well the costs are known",
    "What int8 does to the answers",
    "Which part suffers from int8",
    "The same graphs on other kernels",
    "Where operators run",
    "The vendor's compiler",
    "Steps of the export",
    "Provenance and hashes",
)


COST = VendorCost(cycles=123456, clock_mhz=500.0, latency_us=246.9, sram_bytes=4096, stored_bytes=2048)


def full_report(manifest: Manifest, *, text: str = "remark") -> ExportReport:
    """A report with something in every field."""
    variant = manifest.variants[0]
    cost = variant.runnables[0].cost
    guess = Estimate(value=0.25, low=0.2, high=0.4, source=Source.ANALYTIC)
    layers = [
        LayerReport(
            variant=variant.id,
            graph=name,
            index=0,
            operator="FULLY_CONNECTED",
            macs=64,
            weight_bytes=64,
            live_bytes=16,
            latency_ms=guess,
            energy_uj=guess,
            on_accelerator=False,
            reason=text,
            module=name,
            sqnr_db=31.5,
        )
        for name in tiny.CHAIN
    ]
    return ExportReport(
        schema=SCHEMA,
        name=manifest.name,
        target=manifest.target,
        profile="test-board r1",
        profile_sha256="ab" * 32,
        classes=3,
        test_samples=200,
        accuracy_floor=0.9,
        steps=(StepReport(number=1, name="capture network", status=Status.WARN, message=text, details=(text,)),),
        parts=(PartReport(name="trunk0", kind="trunk", blueprint=None, params=1, cost=cost),),
        variants=tuple(
            VariantReport(
                id=item.id,
                format=item.format,
                precision=item.precision,
                layout=item.layout,
                size_bytes=1,
                runnables=tuple(
                    RunnableReport(
                        configuration=run.configuration,
                        chain=run.chain,
                        accuracy=run.accuracy or 0.0,
                        torch_accuracy=0.96,
                        agreement=0.98,
                        difference=0.1,
                        cost=run.cost,
                        sqnr_db=28.4,
                        chosen=run.configuration == "c10",
                    )
                    for run in item.runnables
                ),
            )
            for item in manifest.variants
        ),
        placement=(
            Placement(graph="head", index=0, operator="TOPK_V2", on_accelerator=False, reason=text),
            Placement(graph="head", index=1, operator="ADD", on_accelerator=True, reason=None),
        ),
        vendor=VendorReport(
            program="some-compiler", command="some-compiler --flag", ran=True, mapped={"ADD": 3}, costs={"head": COST}
        ),
        layers=tuple(layers),
        sensitivity=(SensitivityReport(part="seed0", accuracy=0.9, accuracy_lost=0.05, sqnr_db=20.0, kept_float=True),),
        kernels=(
            KernelReport(variant=variant.id, configuration="c11", kernels="reference", samples=32, worst_lsb=1),
            KernelReport(
                variant=variant.id, configuration="c11", kernels="micro", samples=0, worst_lsb=None, problem=text
            ),
        ),
        groups=((0, 1),),
        configurations=(
            ConfigurationReport(
                id="c10", torch_accuracy=0.9, latency_ms=guess, on_front=True, compiled=False, reason=f"left out {text}"
            ),
        ),
        cost_checks=(f"four networks: mean error 12 % {text}",),
    )


def made(folder: Path, change: Callable[[Manifest], Manifest] = lambda m: m, report: bytes | None = b"") -> Bundle:
    """A tiny bundle; ``report`` empty stands for a full one, None for none."""
    parts, path = tiny.make(), folder / "page.tamiyo"
    manifest = change(parts.manifest)
    files = dict(parts.files)
    if report is not None:
        files[REPORT] = report or full_report(manifest).stored()
    write_bundle(path, manifest, files, KEY, overwrite=True)
    return Bundle.open(path, trusted=Trust.of(KEY.public))


def titles(page: str) -> tuple[str, ...]:
    return tuple(title.replace("&#x27;", "'") for title in re.findall("<h2>(.*?)</h2>", page))


def test_a_page_has_every_section_and_every_figure_has_its_source(tmp_path: Path) -> None:
    page = render(made(tmp_path))
    assert titles(page) == TITLES
    for text in (
        "95.0 % (91.0 to 97.3)",  # Wilson, 200 samples
        "4 ms (3.2 ms to 4.8 ms)",
        "latency of an inference, analytic",
        "four networks: mean error 12 %",
        "slot 0 + slot 1",
        "Ringed: the one that runs",
        "left out remark",
        "TOPK_V2",
        "some-compiler --flag",
        "31.5 dB",
        "FULLY_CONNECTED",
        "123,456",
    ):
        assert text in page, text
    assert "not recorded" not in page


def test_what_was_not_recorded_is_said_to_be_and_nothing_is_drawn_for_it(tmp_path: Path) -> None:
    page = render(made(tmp_path, report=None))
    assert titles(page) == TITLES
    assert page.count("not recorded") >= 5
    bare = replace(full_report(tiny.make().manifest), layers=(), sensitivity=(), kernels=(), cost_checks=())
    page = render(made(tmp_path, report=bare.stored()))
    for text in (
        "Costs operator by operator: not recorded",
        "Error layer by layer: not recorded",
        "Sensitivity of the parts: not recorded",
        "Comparison of kernels: not recorded",
        "checked against on this profile: not recorded",
    ):
        assert text in page, text


HOSTILE = "<script>alert(1)</script>'\"--><svg/onload=x>&"


def test_text_of_a_bundle_stays_text_on_the_page_and_in_the_card(tmp_path: Path) -> None:
    def spoil(m: Manifest) -> Manifest:
        segments = tuple(
            replace(s, name=f"{s.name}{HOSTILE}", blueprint=s.blueprint and HOSTILE) for s in m.plan.segments
        )
        return replace(
            m,
            name=HOSTILE,
            task=HOSTILE,
            target=HOSTILE,
            classes=(HOSTILE, "b", "c"),
            plan=replace(m.plan, segments=segments),
            provenance={HOSTILE: {HOSTILE: [HOSTILE]}},
        )

    bundle = made(tmp_path, spoil, full_report(spoil(tiny.make().manifest), text=HOSTILE).stored())
    page = render(bundle)
    assert "<script" not in page
    assert "onload=x>" not in page.replace("onload=x&gt;", "")
    assert "alert(1)" in page
    for svg in re.findall("<svg.*?</svg>", page):
        ET.fromstring(svg)
    report = read_report(bundle)
    assert report is not None
    text = card(bundle.manifest, report, {}).decode()
    assert "<" not in text
    assert "&lt;script&gt;" in text


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(tmp_path: Path) -> None:
    page = render(made(tmp_path))
    assert "default-src 'none'" in page
    for word in ("<script", "javascript:", "<link", "<img", "@import", "url(", "<iframe"):
        assert word not in page
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}


def test_the_same_bundle_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    made(tmp_path)
    page = render(made(tmp_path))
    code = (
        "import sys; from pathlib import Path; from tamiyo_runtime.bundle import Bundle;"
        "from tamiyo_runtime.signing import PublicKey, Trust; from exporters.html.bundle_page import render;"
        f"key = PublicKey(bytes.fromhex('{KEY.public.raw.hex()}'));"
        "sys.stdout.write(render(Bundle.open(Path(sys.argv[1]), trusted=Trust.of(key))));"
        "heavy = {'torch', 'jax', 'litert_torch', 'onnx', 'ai_edge_litert', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "page.tamiyo")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": root, "LC_ALL": "C.UTF-8"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == page
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    ("report", "error"),
    [
        (b"{}", IntegrityError),
        (b"[" * 5000, IntegrityError),
        (b'{"schema": "tamiyo.export-report/9"}', SchemaVersionError),
        (b'{"schema": "tamiyo.export-report/1", "name": 3}', IntegrityError),
    ],
)
def test_a_report_that_breaks_its_contract_is_refused(tmp_path: Path, report: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"report\.json"):
        render(made(tmp_path, report=report))


def test_inspect_writes_the_page_and_does_not_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tamiyo_home: Path
) -> None:
    Trust.add(KEY.public, "factory")
    bundle = made(tmp_path)
    out = tmp_path / "out.html"
    arguments = ["inspect", str(tmp_path / "page.tamiyo"), "--html", str(out)]
    assert main(arguments) == 0
    assert out.read_text() == render(bundle)
    assert main(arguments) == 2
    assert main([*arguments, "--overwrite"]) == 0
    assert f"{out} exists already" in capsys.readouterr().err


# The drawings.


def shapes(svg: str, kind: str) -> list[dict[str, str]]:
    return [dict(item.attrib) for item in ET.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{kind}")]


def test_ticks_are_round_few_and_inside() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(83, 97) == pytest.approx([85, 90, 95])
    assert ticks(5, 5) == [5]
    for low, high in ((0, 3e-6), (-7, 1e9), (0.1, 0.11)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 7
        assert all(low - 1e-9 <= value <= high + 1e-6 for value in found)


def point(**changes: Any) -> Point:
    return replace(
        Point(label="c1", x=2.0, x_low=1.0, x_high=3.0, y=90.0, y_low=85.0, y_high=95.0, front=True, tip="t"), **changes
    )


def test_points_lie_where_their_figures_say_and_the_front_is_filled() -> None:
    svg = scatter(
        [
            point(label="cheap", x=1.0, y=80.0),
            point(label="dear", x=3.0, y=95.0),
            point(label="off", y=70.0, front=False),
        ],
        x_label="latency",
        y_label="accuracy",
        x_text=str,
    )
    filled = [shape for shape in shapes(svg, "circle") if "f2" in shape["class"]]
    cheap, dear = sorted(filled, key=lambda shape: float(shape["cx"]))
    assert float(dear["cy"]) < float(cheap["cy"])
    off = next(shape for shape in shapes(svg, "circle") if "hollow" in shape["class"])
    assert float(cheap["cx"]) < float(off["cx"]) < float(dear["cx"])
    assert float(dear["cy"]) < float(cheap["cy"]) < float(off["cy"])
    assert not [shape for shape in shapes(svg, "circle") if "empty" in shape["class"]]
    ringed = scatter([point(chosen=True, front=False)], x_label="x", y_label="y", x_text=str)
    assert len([shape for shape in shapes(ringed, "circle") if "empty" in shape["class"]]) == 1
    assert "cheap" in svg
    assert ">off<" not in svg, "only the front is labelled"


def test_one_point_without_any_spread_can_be_drawn() -> None:
    svg = scatter([point(x_low=2.0, x_high=2.0, y_low=90.0, y_high=90.0)], x_label="x", y_label="y", x_text=str)
    assert "nan" not in svg
    assert len(shapes(svg, "circle")) == 1


def test_bars_are_as_long_as_their_values() -> None:
    svg = bars(
        [Bar(label="a", value=1.0, text="1"), Bar(label="b", value=4.0, text="4"), Bar(label="c", value=0, text="0")],
        title="t",
    )
    one, four, none = (float(shape["width"]) for shape in shapes(svg, "rect"))
    assert four == pytest.approx(4 * one, rel=0.01)
    assert none < 1
    assert shapes(bars([], title="t"), "rect") == []


def test_the_network_is_drawn_in_running_order_over_several_rows() -> None:
    pieces = [Piece(name=f"p{i}", slot=i // 2 if i % 2 else None, lines=("1", "2")) for i in range(17)]
    svg = network(pieces)
    assert len(shapes(svg, "rect")) == 17
    assert len(shapes(svg, "circle")) == 8
    assert re.findall(r">(p\d+)</text>", svg) == [piece.name for piece in pieces]
    box = ET.fromstring(svg).attrib["viewBox"].split()
    assert all(float(shape["y"]) + float(shape["height"]) <= float(box[3]) for shape in shapes(svg, "rect"))
    assert all(0 <= float(shape["x"]) <= float(box[2]) for shape in shapes(svg, "rect"))


def test_text_in_a_drawing_is_escaped() -> None:
    drawing = Drawing(10, title=HOSTILE)
    drawing.text(0, 0, HOSTILE)
    drawing.dot(0, 0, "f0", tip=HOSTILE)
    drawing.box(0, 0, 1, 1, "f0", tip=HOSTILE)
    root = ET.fromstring(drawing.render())
    assert root.attrib["aria-label"] == HOSTILE
    assert [item.text for item in root.iter() if item.text] == [HOSTILE] * 3


def test_the_wilson_interval_is_the_published_one() -> None:
    """Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for found, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(found / count, count) == pytest.approx((low, high), abs=6e-5)
    assert wilson(0.5, 0) == (0.0, 1.0)


# A real browser.

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1100, 390])
def test_a_browser_shows_every_section_without_a_word_of_complaint(tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None
    page = tmp_path / "page.html"
    page.write_text(render(made(tmp_path)))
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--enable-logging=stderr", "--log-level=0", f"--window-size={width},900", "--virtual-time-budget=2000"),
        *("--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert titles(done.stdout.replace("&#39;", "'")) == TITLES
    assert done.stdout.count("<svg") == 5
    assert json.dumps("</html>")[1:-1] in done.stdout
