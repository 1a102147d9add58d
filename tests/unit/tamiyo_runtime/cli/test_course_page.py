"""The page of a course: what it shows of a course under way and of one that is over, and in a real browser."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tamiyo_runtime.cli import course_charts as charts
from tamiyo_runtime.cli.course_cmd import show_round
from tamiyo_runtime.cli.course_page import render, state_of, used
from tamiyo_train.curriculum.conditions import Condition, Sense, Verdict, of_values, unmeasured
from tamiyo_train.curriculum.course import Move
from tamiyo_train.curriculum.round import SCHEMA, CourseRecord, NetworkLine, Round, TrainingMacs
from tamiyo_train.curriculum.stages import CURRICULUM
from tamiyo_train.run import NetworkResult, WindowRecord

STAGES = CURRICULUM.between("3.5", "4")


def window(step: int, accuracy: float) -> WindowRecord:
    return WindowRecord(
        step=step,
        operation="wait",
        slot=None,
        blueprint=None,
        intensity=None,
        loss=1.0,
        accuracy=accuracy,
        params=100,
        drift=0.0,
        panics=0,
        alphas=(0.0,),
        learning_rate=0.01,
    )


def network(seed: int, figures: dict[str, float]) -> NetworkLine:
    return NetworkLine(
        seed=seed,
        figures=figures,
        result=NetworkResult(
            test_accuracy=0.97, validation_accuracy=0.96, params=275, macs=231, training_macs=4_500_000, steps=64
        ),
        seeds=("0 glu",),
        history=(window(16, 0.5), window(32, 0.9)),
        lives=((0, 0, "training"), (16, 0, "fossilised")),
        seconds=2.0,
    )


def a_round(number: int, stage: str, *, passed: bool, move: Move, rehearsed: dict[str, float] | None = None) -> Round:
    conditions = CURRICULUM.stage(stage).conditions
    verdicts = [
        Verdict(
            condition=condition,
            evidence=of_values((0.999, 0.999) if condition.sense is Sense.AT_LEAST else (0.0, 0.0)),
        )
        for condition in conditions
    ]
    if not passed:
        verdicts[0] = Verdict(condition=conditions[0], evidence=of_values((0.5, 0.6)))
        verdicts[-1] = Verdict(condition=conditions[-1], evidence=unmeasured("nobody was there"))
    return Round(
        number=number,
        stage=stage,
        layout="vector-3x9",
        verdicts=tuple(verdicts),
        networks=tuple(network(seed, {conditions[0].measure: 0.97}) for seed in range(2)),
        beside={},
        rehearsed=rehearsed or {},
        lessons={stage: 14},
        move=move,
        why=f"because of {move}",
        training_macs=TrainingMacs(lessons=10**9, examination=2 * 10**9, rehearsal=0),
        seconds=100.0,
    )


def record(*rounds: Round, following: str | None, passed: tuple[str, ...] = ()) -> CourseRecord:
    return CourseRecord(
        schema=SCHEMA,
        seed=0,
        networks=2,
        smoke=False,
        stages=("3.5", "4"),
        rounds=rounds,
        following=following,
        passed=passed,
        left=(),
        policies={},
        files={},
        versions={"tamiyo": "0"},
    )


UNDER_WAY = record(
    a_round(0, "3.5", passed=True, move=Move.CONFIRM),
    a_round(1, "3.5", passed=True, move=Move.ADVANCE),
    a_round(2, "4", passed=False, move=Move.REPEAT, rehearsed={"3.5": 0.5}),
    following="4",
    passed=("3.5",),
)


class Titles(HTMLParser):
    """Collects what is inside headings."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "h2"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found.append(data)
            self._inside = False


def titles(page: str) -> list[str]:
    parser = Titles()
    parser.feed(page)
    return parser.found


SECTIONS = [
    "Gates",
    "How the course went",
    "What each stage cost",
    "Stage 3.5: Gaussian clusters, passed",
    "Stage 4: concentric spheres in ten dimensions, under way",
    "What it was made with",
]


def test_the_page_begins_with_the_gates_and_the_way_and_says_that_a_course_is_under_way() -> None:
    page = render(UNDER_WAY, STAGES)
    assert titles(page) == SECTIONS
    assert "comes next: the course is not over" in page
    assert "stage 4: accuracy at least 0.97 (by " in page
    assert "rehearsal: lost too much" in page
    assert "It is there to teach squeeze-excite, glu; what grew in its examinations: 4 glu." in page
    assert "not measured" in page
    assert page.count("<svg") == 7


def test_a_stage_that_was_not_reached_has_a_row_and_has_cost_nothing() -> None:
    later = CURRICULUM.stage("5")
    page = render(replace(UNDER_WAY, stages=("3.5", "4", "5")), (*STAGES, later))
    assert f'{later.title}</td><td>not reached</td><td class="n"></td>' in page
    assert "5  xor" not in page
    assert titles(page) == SECTIONS


def test_a_condition_that_was_missed_is_told_with_its_note(capsys: pytest.CaptureFixture[str]) -> None:
    one = a_round(0, "4", passed=False, move=Move.REPEAT)
    missed = replace(one.verdicts[0], evidence=of_values((0.5, 0.6), note="the second was ill"))
    show_round(replace(one, verdicts=(missed, *one.verdicts[1:])))
    told = capsys.readouterr().out
    assert "accuracy: the second was ill\n" in told
    assert "no: not measured: nobody was there" in told
    assert "repeat: because of repeat" in told


def test_a_stage_is_not_passed_only_when_the_course_will_not_come_back_to_it() -> None:
    assert state_of(UNDER_WAY, "4") == "under way"
    assert state_of(replace(UNDER_WAY, following=None), "4") == "not passed"
    assert state_of(replace(UNDER_WAY, left=("4",)), "4") == "not passed"
    assert state_of(replace(UNDER_WAY, rounds=UNDER_WAY.rounds[:2]), "4") == "not reached"
    assert "comes next" not in render(replace(UNDER_WAY, following=None), STAGES)


@pytest.mark.parametrize(
    ("sense", "bound", "value", "share"),
    [
        (Sense.AT_LEAST, 0.99, 0.995, 0.5),
        (Sense.AT_LEAST, 0.99, 0.98, 2.0),
        (Sense.AT_LEAST, 1.0, 1.0, 0.0),
        (Sense.AT_LEAST, 1.0, 0.9, math.inf),
        (Sense.AT_MOST, 0.05, 0.01, 0.2),
        (Sense.AT_MOST, 0.0, 0.0, 0.0),
        (Sense.AT_MOST, 0.0, 1.0, math.inf),
    ],
)
def test_a_value_is_drawn_by_how_much_of_what_is_allowed_it_uses_up(
    sense: Sense, bound: float, value: float, share: float
) -> None:
    assert used(Condition(measure="m", sense=sense, bound=bound), value) == pytest.approx(share)


def test_every_state_of_a_seed_that_is_drawn_has_its_place_and_a_dormant_slot_is_empty() -> None:
    states = ["dormant", *charts.LIFE_STYLES]
    row = [(float(k), float(k + 1), state) for k, state in enumerate(states)]
    drawn = charts.lives([("network 1, slot 0", row)], end=10.0)
    for state in charts.LIFE_STYLES:
        assert f"network 1, slot 0: {state}, steps" in drawn
    assert "dormant" not in drawn
    assert "training step" in charts.lives([], end=10.0)


def test_networks_without_a_curve_leave_an_empty_plane() -> None:
    assert "validation accuracy" in charts.learning([[]], bound=None)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_every_section_without_a_word_of_complaint(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    page = tmp_path / "page.html"
    page.write_text(render(UNDER_WAY, STAGES))
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--enable-logging=stderr", "--log-level=0", "--window-size=1100,900", "--virtual-time-budget=2000"),
        *("--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert titles(done.stdout) == SECTIONS
