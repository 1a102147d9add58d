"""``docs/telemetry.md``, made from the tables that lay the observation out.

python -m tamiyo_train.telemetry.page        writes the page; a test fails when it is not current
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tamiyo_runtime.contracts.features import GLOBAL, SLOT, Feature
from tamiyo_runtime.contracts.observation import OBSERVATION
from tamiyo_train.policy.network import CLIP
from tamiyo_train.telemetry.reading import PROBES

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"

_TEXT = """\
# Telemetry: what the policy is told

<!-- made by python -m tamiyo_train.telemetry.page; change the tables in tamiyo_runtime/contracts/features.py -->

Layout `{observation}`: one float32 vector of {globals} global fields, then {slots} fields a slot, in the order of
the tables. Growing and running share the layout and the code that writes it. A field that is not known at the time is
0, and `running` says which phase it is. A policy of another layout is refused by name, in a bundle and in a run alike.

## Network and device

{global_table}

## Each slot

{slot_table}

## How it is measured

* **When.** Once before every decision, never between two steps of a window. Growing, everything is measured on the gate
  split with the network as it stands. A seed in TRAINING does not touch the output yet: its figures are those it would
  have if it were switched on fully.
* **With and without.** Both outcomes come from the same samples. One forward pass serves all seeds: with a seed
  switched over, the network is the same up to that seed's slot, so each seed adds its rows to the batch there.
* **Probes.** Drift and variance are taken on the first {probes} samples of the gate split, always the same.
* **Without side effects.** A reading changes no weight, buffer, mode, gradient, optimiser moment or generator, and
  reading twice gives the same twice; age is counted in training steps, not in readings.
* **From any thread.** A reading holds the network's lock, as a training step does: it sees the network between two
  steps, and training goes on exactly as it would have without it.
* **No running averages.** Loss level and slope compare whole windows; safety scores come from one reading. There is no
  average that starts at 0, and no figure that needs a history it does not have.
* **Clipped twice.** Every field is cut to its range as it is written. A measured figure that is not finite is left out
  and raises the slot's `alert`. The policy then subtracts the mean and divides by the deviation of each field over what
  it was taught on, and clips at {clip:g} deviations; a field that never varied is centred only. Mean and deviation are
  frozen after teaching and are part of the policy's graph, in the run and in every bundle made of it.
* **Safety is measured, not predicted.** `drift_risk`, `rollback_need` and `alert` are inputs. The policy also has heads
  that predict safety; no mask and no governor reads either.

## What it costs

`benchmarks/bench_telemetry.py` runs the same episodes with and without collecting, in turn, and records the ratio.
"""


def page() -> str:
    """The whole page."""
    return _TEXT.format(
        observation=OBSERVATION,
        globals=len(GLOBAL),
        slots=len(SLOT),
        global_table=_table(GLOBAL),
        slot_table=_table(SLOT),
        probes=PROBES,
        clip=CLIP,
    )


def _table(features: Iterable[Feature]) -> str:
    rows = ["| field | unit | range | definition | known growing | known running |", "|" + " --- |" * 6]
    for feature in features:
        known = [when or "never" for when in (feature.growing, feature.running)]
        limits = f"{feature.low:g} to {feature.high:g}"
        rows.append(f"| `{feature.name}` | {feature.unit} | {limits} | {feature.definition} | {' | '.join(known)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
