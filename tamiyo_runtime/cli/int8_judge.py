"""Judges a grown network by its int8 graph: what training hands over, through the export and LiteRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tamiyo_train.handover import Handover


def int8_accuracy(handover: Handover, target: str) -> float:
    """Share of the test samples that the int8 graph for ``target`` gets right; raises what `int8_answers` does."""
    from exporters.judge import int8_answers
    from tamiyo_runtime.cli.export_cmd import request_of

    return int8_answers(request_of(handover), target).accuracy
