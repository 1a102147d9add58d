"""SIGHUP to a running bundle: another one takes over, or is refused, and no sample is lost either way."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.signing import SigningKey
from tests import tiny

RUN = ("--source", "generator?seed=1", "--period-ms", 10, "--samples", 400, "--latency-ms", 1000, "--json")


def _unheard(*_: object) -> None:
    """What becomes of the signal while no run listens."""


@pytest.fixture(autouse=True)
def nobody_listens() -> Iterator[None]:
    """Whatever this process inherited: the signal neither ends it, nor does one that is ignored pass for a listener."""
    before = signal.signal(signal.SIGHUP, _unheard)
    yield
    signal.signal(signal.SIGHUP, before)


def _hang_up(replace_it: Callable[[], object]) -> threading.Thread:
    """Replace the file as soon as the run listens, and say so."""

    def act() -> None:
        limit_s = time.monotonic() + 20.0
        while signal.getsignal(signal.SIGHUP) is _unheard:
            if time.monotonic() > limit_s:
                return
            time.sleep(0.02)
        replace_it()
        os.kill(os.getpid(), signal.SIGHUP)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_the_bundle_is_opened_again_and_takes_over_without_losing_a_sample(tamiyo: Any, own_bundle: Path) -> None:
    made = tiny.make()
    later = replace(made.manifest, name="tiny-2", version=2)
    thread = _hang_up(lambda: write_bundle(own_bundle, later, made.files, SigningKey.default(), overwrite=True))
    outcome = tamiyo("run", own_bundle, *RUN)
    thread.join()
    data = json.loads(outcome.out)
    assert (outcome.code, data["bundle"], data["samples"]) == (0, "tiny-2", 400)
    assert data["inferences"] + data["skipped"] == 400


def test_a_bundle_that_does_not_fit_the_run_leaves_no_version_behind_that_keeps_the_old_one_from_running(
    tamiyo: Any, own_bundle: Path
) -> None:
    made, before = tiny.make(), own_bundle.read_bytes()
    wider = replace(made.manifest, version=2, input=replace(tiny.INPUT, raw_high=255.0))
    thread = _hang_up(lambda: write_bundle(own_bundle, wider, made.files, SigningKey.default(), overwrite=True))
    outcome = tamiyo("run", own_bundle, *RUN)
    thread.join()
    assert "warning: not reloaded: tiny takes samples of" in outcome.err
    own_bundle.write_bytes(before)
    assert tamiyo("run", own_bundle, *RUN, "--samples", 10).code == 0


def test_what_took_over_counts_as_run_and_an_older_one_is_refused_from_then_on(tamiyo: Any, own_bundle: Path) -> None:
    made, before = tiny.make(), own_bundle.read_bytes()
    later = replace(made.manifest, version=2)
    thread = _hang_up(lambda: write_bundle(own_bundle, later, made.files, SigningKey.default(), overwrite=True))
    tamiyo("run", own_bundle, *RUN)
    thread.join()
    own_bundle.write_bytes(before)
    assert tamiyo("run", own_bundle, *RUN).code == 6


def test_a_file_that_is_refused_changes_nothing_and_is_told(tamiyo: Any, own_bundle: Path) -> None:
    thread = _hang_up(lambda: own_bundle.write_bytes(b"no bundle at all"))
    outcome = tamiyo("run", own_bundle, *RUN)
    thread.join()
    data = json.loads(outcome.out)
    assert (outcome.code, data["bundle"], data["samples"]) == (0, "tiny", 400)
    assert "warning: not reloaded: " in outcome.err
