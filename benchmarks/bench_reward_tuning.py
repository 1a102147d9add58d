"""The record of a study of the reward's weights: what it found, level by level, with hashes of what it was found on.

    tamiyo train tune-reward STUDY --device cuda --hosts 36 --trials 300
    python benchmarks/bench_reward_tuning.py STUDY --machine "one ..., torch ..."

Takes the outcomes that the study kept and prices them again: every trial has to come to the score that the study
wrote down for it, and the report to what it says, or nothing is written. What is added: choices of the shipped and the
tuned weights on every level, differences by family, and the score along each weight alone. Prints the tables of
docs/policy.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_train.codec import decode, encode
from tamiyo_train.config import Prices
from tamiyo_train.policy.lane_deciders import Habit
from tamiyo_train.policy.levels import OFFERS
from tamiyo_train.tuning.difference import Jackknife
from tamiyo_train.tuning.outcomes import Outcomes, at
from tamiyo_train.tuning.report import SHIPPED, TUNED, Report, held_out
from tamiyo_train.tuning.study import SPAN, trials_in
from tamiyo_train.tuning.tune import REPORT, STUDY, Settings, by_gate, kept_as
from tamiyo_train.tuning.yardstick import Yardstick, choose, columns, point
from tamiyo_train.work import Work, settings_of

RECORD = Path(__file__).parent / "reward_tuning.json"
SCHEMA = "tamiyo.reward-record/1"
STEPS_A_DECADE = 4
"""Points along each weight."""
FIGURES = ("accuracy", "params", "training_ratio", "events")


def record(study: Path, machine: str) -> dict[str, Any]:
    """Everything about a study that was carried out; raises ValueError where it does not come to what it says."""
    kept = settings_of(study)
    settings: Settings = decode(Settings, kept["tuning"], {}, path="tuning")
    report: Report = decode(Report, json.loads((study / REPORT).read_text()), {}, path=REPORT)
    played = outcomes_of(study, settings)
    tuned_on = {gate: outcomes.rows(~held_out(outcomes)) for gate, outcomes in played.items()}
    yardstick = Yardstick(tuned_on)
    trials = trials_in(study / STUDY)
    for prices, value in (*trials, (report.row(TUNED).prices, report.score_tuned)):
        if not math.isclose(yardstick.score(prices), value, rel_tol=1e-6, abs_tol=1e-9):
            raise ValueError(f"{prices} comes to {yardstick.score(prices)}, not to {value}")
    choices = {name: _Choice(played, report.row(name).prices) for name in (SHIPPED, TUNED)}
    for name, choice in choices.items():
        if not math.isclose(point(choice.columns).volume, report.row(name).volume, rel_tol=1e-6, abs_tol=1e-9):
            raise ValueError(f"{name}: {point(choice.columns).volume}, not {report.row(name).volume}")
    files = sorted((*(study / ".work").glob("outcomes-*.safetensors"), study / STUDY, study / REPORT))
    return {
        "schema": SCHEMA,
        "machine": machine,
        "versions": kept["versions"],
        "settings": encode(settings, {}),
        "episodes": sum(outcomes.accuracy.numel() for outcomes in played.values()),
        "report": encode(report, {}),
        "families": _families(choices),
        "levels": _levels(choices),
        "along": _along(yardstick),
        "trials": {
            "columns": [*asdict(Prices()), "score"],
            "rows": [[*asdict(prices).values(), score] for prices, score in trials],
        },
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def outcomes_of(study: Path, settings: Settings) -> dict[float, Outcomes]:
    """What a study played, by the price at the gate; raises ValueError where something is not there."""
    work, plays = Work(study), settings.plays()
    try:
        found = [work.kept(kept_as(job), Outcomes) for job in plays]
    finally:
        work.release()
    there = [one for one in found if one is not None]
    if len(there) < len(found):
        raise ValueError(f"{study} has {len(there)} of {len(found)} parts of its outcomes")
    return by_gate(plays, there)


class _Choice:
    """The habit that prices choose on every level, and what it comes to on held-out draws."""

    def __init__(self, played: Mapping[float, Outcomes], prices: Prices) -> None:
        outcomes = at(played, prices)
        judged = held_out(outcomes)
        self.habit = choose(outcomes, outcomes.utilities(prices), ~judged)
        self.seen = outcomes.rows(judged)
        self.columns = columns(self.seen, self.habit[self.seen.level])

    def of(self, which: torch.Tensor) -> dict[str, torch.Tensor]:
        """Columns of some of the episodes."""
        return {name: column[which] for name, column in self.columns.items()}


def _families(choices: Mapping[str, _Choice]) -> dict[str, Any]:
    """Tuned less shipped on held-out draws, by family, with 95 % intervals."""
    seen, found = choices[SHIPPED].seen, {}
    for number, name in enumerate(dict.fromkeys(level.rpartition(" ")[0] for level in seen.levels)):
        which = seen.family == number
        ours, theirs = choices[TUNED].of(which), choices[SHIPPED].of(which)
        volume, accuracy = Jackknife(seen.rows(which)).differences(ours, theirs)
        found[name] = {"volume": asdict(volume), "accuracy": asdict(accuracy)}
    return found


def _levels(choices: Mapping[str, _Choice]) -> dict[str, Any]:
    """What either choose on every level, and means of that on held-out draws."""
    levels = choices[SHIPPED].seen.levels
    return {
        level: {name: _level(choice, number) for name, choice in choices.items()} for number, level in enumerate(levels)
    }


def _level(choice: _Choice, number: int) -> dict[str, Any]:
    means = asdict(point(choice.of(choice.seen.level == number)))
    habit = choice.seen.habits[int(choice.habit[number])]
    return {"habit": _named(habit), **{name: float(f"{means[name]:.6g}") for name in FIGURES}}


def _named(habit: Habit) -> str:
    if habit.seeds == 0:
        return "waits"
    kind = OFFERS[habit.preferred].name
    return f"{kind} first, {habit.seeds} at most, from decision {habit.start}, intensity {habit.intensity}"


def _along(yardstick: Yardstick) -> dict[str, Any]:
    """The score with one weight moved over the span of the search, the others as shipped."""
    decades = math.log10(SPAN)
    count = round(2 * decades * STEPS_A_DECADE)
    factors = [10 ** (2 * decades * step / count - decades) for step in range(count + 1)]
    shipped = Prices()
    scores = {
        name: [yardstick.score(replace(shipped, **{name: factor * value})) for factor in factors]
        for name, value in asdict(shipped).items()
    }
    return {"factors": [float(f"{factor:.4g}") for factor in factors], "scores": scores}


def page(made: Mapping[str, Any]) -> str:
    """The tables of a record for `docs/policy.md`: weights, and what every set of them leads to."""
    report = made["report"]
    rows = {row["name"]: row for row in report["rows"]}
    shipped, tuned = rows[SHIPPED]["prices"], rows[TUNED]["prices"]
    out = ["| price of | shipped | tuned | share of the variance between trials |", "| --- | --- | --- | --- |"]
    shares = dict.fromkeys(shipped, "") | {name: f"{x:.1%}" for name, x in (report["importance"] or {}).items()}
    out += [f"| {name} | {shipped[name]:g} | {tuned[name]:.2g} | {shares[name]} |" for name in shipped]
    out += [
        "",
        "| weights | score accuracy, % | parameters | training | panics | volume | less shipped (95 %) "
        "| accuracy less shipped, points (95 %) | levels changed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        where, same = row["point"], row["volume_change"]["mean"] == row["accuracy_change"]["mean"] == 0
        changes = ("", "") if same else (_shown(row["volume_change"], 1, 4), _shown(row["accuracy_change"], 100, 2))
        out.append(
            f"| {name} | {100 * where['accuracy']:.2f} | {where['params']:.0f} | {where['training_ratio']:.2f} "
            f"| {where['events']:.3f} | {row['volume']:.4f} | {changes[0]} | {changes[1]} | {row['levels_changed']} |"
        )
    out += ["", "| family | volume, tuned less shipped (95 %) | accuracy, points (95 %) |", "| --- | --- | --- |"]
    for name, change in made["families"].items():
        out.append(f"| {name} | {_shown(change['volume'], 1, 4)} | {_shown(change['accuracy'], 100, 2)} |")
    return "\n".join(out)


def _shown(change: Mapping[str, float], unit: float, digits: int) -> str:
    low, mean, high = (f"{unit * change[name]:+.{digits}f}" for name in ("low", "mean", "high"))
    return f"{mean} ({low} to {high})"


def main() -> int:
    """Write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--machine", required=True, help="what the study was carried out on")
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        made = record(arguments.study, arguments.machine)
    except (ValueError, TamiyoError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    arguments.out.write_text(json.dumps(made, indent=1) + "\n")
    print(page(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
