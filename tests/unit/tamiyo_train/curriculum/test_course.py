"""The course: what follows which examination, and that it ends whatever comes out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_train.curriculum.course import Move, Outcome, Rules, Standing, after

RULES = Rules(stages=("0", "1", "2"))
PASSED, FAILED = Outcome(passed=True, success=0.9), Outcome(passed=False, success=0.5)


def moves(outcomes: list[Outcome], rules: Rules = RULES) -> tuple[Standing, list[Move]]:
    standing, made = Standing(), []
    for outcome in outcomes:
        standing, move, why = after(standing, outcome, rules)
        assert why
        made.append(move)
    return standing, made


def test_two_passes_running_lead_on_and_the_last_stage_ends_the_course() -> None:
    standing, made = moves([PASSED] * 6)
    assert made == [Move.CONFIRM, Move.ADVANCE, Move.CONFIRM, Move.ADVANCE, Move.CONFIRM, Move.FINISH]
    assert standing.over
    assert dict(standing.passed) == {"0": 0.9, "1": 0.9, "2": 0.9}


def test_a_failure_after_a_pass_starts_the_count_again() -> None:
    standing, made = moves([PASSED, FAILED, PASSED, PASSED])
    assert made == [Move.CONFIRM, Move.REPEAT, Move.CONFIRM, Move.ADVANCE]
    assert standing.stage == 1


def test_failing_for_long_leads_back_once_and_then_ends_the_course() -> None:
    standing, made = moves([PASSED, PASSED, FAILED, FAILED])
    assert made[-1] is Move.REGRESS
    assert standing.stage == 0
    standing, made = moves([PASSED, PASSED, FAILED, FAILED, PASSED, PASSED, FAILED, FAILED])
    assert made[-1] is Move.STOP
    assert standing.over


def test_a_stage_can_be_left_behind_when_asked_and_is_on_record_as_not_passed() -> None:
    rules = Rules(stages=("0", "1", "2"), keep_going=True)
    standing, made = moves([FAILED, FAILED, PASSED, PASSED, PASSED, PASSED], rules)
    assert made[1] is Move.LEAVE
    assert standing.left == ("0",)
    assert standing.over


def test_an_earlier_stage_that_lost_more_than_a_point_is_gone_back_to_once() -> None:
    forgot = Outcome(passed=True, success=0.9, rehearsed={"0": 0.88})
    standing, made = moves([PASSED, PASSED, forgot])
    assert made[-1] is Move.REGRESS
    assert standing.stage == 0
    standing, made = moves([PASSED, PASSED, forgot, PASSED, PASSED, forgot])
    assert made[-1] is Move.CONFIRM, "the second time the course goes on"


def test_a_point_may_be_lost() -> None:
    _, made = moves([PASSED, PASSED, Outcome(passed=True, success=0.9, rehearsed={"0": 0.8901})])
    assert made[-1] is Move.CONFIRM


outcomes = st.builds(
    Outcome,
    passed=st.booleans(),
    success=st.floats(0, 1),
    rehearsed=st.dictionaries(st.sampled_from("0123"), st.floats(0, 1), max_size=2),
)


@settings(max_examples=200)
@given(st.data(), st.booleans(), st.integers(1, 3), st.integers(1, 3))
def test_every_course_ends(data: st.DataObject, keep_going: bool, passes: int, patience: int) -> None:
    rules = Rules(stages=("0", "1", "2", "3"), passes=passes, patience=patience, keep_going=keep_going)
    standing = Standing()
    for _ in range(9 * 4 * patience * passes + 9 * 4 * passes):
        standing, move, _ = after(standing, data.draw(outcomes), rules)
        if standing.over:
            assert move in {Move.FINISH, Move.STOP, Move.LEAVE}
            assert keep_going or move is not Move.LEAVE
            return
    raise AssertionError("the course does not end")
