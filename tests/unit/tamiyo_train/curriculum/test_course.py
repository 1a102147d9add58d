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
    assert dict(standing.passed) == {"0": 0.9}


def test_it_leads_back_to_the_nearest_stage_with_the_same_policy_and_then_straight_to_where_it_failed() -> None:
    rules = Rules(stages=("0", "1", "2", "3"), policies=("vector", "vector", "image", "vector"))
    standing, made = moves([PASSED] * 6 + [FAILED, FAILED], rules)
    assert (made[-1], standing.stage) == (Move.REGRESS, 1)
    standing, made = moves([PASSED] * 6 + [FAILED, FAILED, PASSED, PASSED], rules)
    assert (made[-1], standing.stage) == (Move.ADVANCE, 3)


def test_a_stage_whose_policy_no_earlier_one_has_leads_nowhere_back() -> None:
    rules = Rules(stages=("0", "1"), policies=("vector", "image"))
    standing, made = moves([PASSED, PASSED, FAILED, FAILED], rules)
    assert made[-1] is Move.STOP
    assert standing.over


def test_a_stage_can_be_left_behind_when_asked_and_is_on_record_as_not_passed() -> None:
    rules = Rules(stages=("0", "1", "2"), keep_going=True)
    standing, made = moves([FAILED, FAILED, PASSED, PASSED, PASSED, PASSED], rules)
    assert made[1] is Move.LEAVE
    assert standing.left == ("0",)
    assert standing.over


FORGOT = Outcome(passed=True, success=0.9, rehearsed={"0": 0.88})


def test_an_earlier_stage_that_lost_more_than_a_point_has_to_be_passed_anew() -> None:
    standing, made = moves([PASSED, PASSED, FORGOT])
    assert made[-1] is Move.REGRESS
    assert standing.stage == 0
    assert "0" not in standing.passed
    standing, made = moves([PASSED, PASSED, FORGOT, PASSED, PASSED, PASSED])
    assert made[-2:] == [Move.ADVANCE, Move.CONFIRM]
    assert standing.stage == 1
    assert "0" in standing.passed


def test_a_stage_that_was_lost_and_fails_when_it_is_gone_back_to_does_not_count_as_passed() -> None:
    rules = Rules(stages=("0", "1"), keep_going=True)
    standing, made = moves([PASSED, PASSED, FORGOT, FAILED, FAILED, PASSED, PASSED], rules)
    assert made[-3:] == [Move.LEAVE, Move.CONFIRM, Move.FINISH]
    assert set(standing.passed) == {"1"}
    assert standing.left == ("0",)


def test_a_stage_that_is_lost_again_is_not_gone_back_to_and_does_not_count_as_passed() -> None:
    twice = [PASSED, PASSED, FORGOT, PASSED, PASSED, FORGOT]
    standing, made = moves(twice)
    assert made[-1] is Move.STOP
    assert standing.over
    assert not standing.passed
    standing, made = moves(twice, Rules(stages=("0", "1", "2"), keep_going=True))
    assert made[-1] is Move.CONFIRM
    assert standing.left == ("0",)
    assert not standing.passed


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
def test_every_course_ends_and_no_stage_counts_as_passed_and_as_not(
    data: st.DataObject, keep_going: bool, passes: int, patience: int
) -> None:
    policies = tuple(data.draw(st.lists(st.sampled_from("ab"), min_size=4, max_size=4)))
    rules = Rules(
        stages=("0", "1", "2", "3"), policies=policies, passes=passes, patience=patience, keep_going=keep_going
    )
    standing = Standing()
    for _ in range(9 * 4 * patience * passes + 9 * 4 * passes):
        standing, move, _ = after(standing, data.draw(outcomes), rules)
        assert not set(standing.passed) & set(standing.left)
        if standing.over:
            assert move in {Move.FINISH, Move.STOP, Move.LEAVE}
            assert keep_going or move is not Move.LEAVE
            assert move is not Move.FINISH or set(standing.passed) | set(standing.left) == set(rules.stages)
            return
    raise AssertionError("the course does not end")
