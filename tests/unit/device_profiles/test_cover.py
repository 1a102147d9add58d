"""Which graphs an inference invokes."""

from __future__ import annotations

import pytest

from device_profiles.cover import dear, joined


@pytest.mark.parametrize(("boundaries_ms", "is_dear"), [(0.051, True), (0.049, False), (0.0, False)])
def test_boundaries_are_dear_above_a_twentieth_of_the_whole_network(boundaries_ms, is_dear):
    assert dear(boundaries_ms, 1.0) is is_dear


def test_pieces_are_joined_in_order_into_one_graph():
    assert joined([["a", "b"], [], ["c"]]) == [["a", "b", "c"]]
