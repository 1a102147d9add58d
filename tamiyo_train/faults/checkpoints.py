"""States on disk that are damaged: the newest is refused, and the one before it brings everything back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tamiyo_train.evaluation import score
from tamiyo_train.faults.kinds import Outcome, kinds
from tamiyo_train.faults.scene import Scene
from tamiyo_train.resume import state_of
from tamiyo_train.snapshot import digest
from tamiyo_train.vault import Vault


@kinds.register("corrupt-checkpoint")
def corrupt_checkpoint(scene: Scene, rng: np.random.Generator) -> Outcome:
    """The newest state on disk has a flipped bit, is cut short, empty, or of another version."""
    state, accuracy = digest(scene.trainer), scene.accuracy()
    damage = ("flipped bit", "cut short", "empty", "another version")[rng.integers(4)]
    with tempfile.TemporaryDirectory(prefix="tamiyo-fault-") as folder:
        vault = Vault(Path(folder))
        vault.keep(scene)
        scene.mark()
        scene.train(2)
        if damage == "another version":
            document, tensors = state_of(scene)
            vault.write({**document, "schema": f"tamiyo.growth/{rng.integers(2, 1000)}"}, tensors)
        else:
            _damage(vault.keep(scene), damage, rng)
        return restarted(scene, vault, f"newest state: {damage}", {state: accuracy}, refusals=1)


def restarted(scene: Scene, vault: Vault, fault: str, accuracies: Mapping[str, float], *, refusals: int = 0) -> Outcome:
    """Bring a fresh episode to what the vault holds, as a restart does.

    ``accuracies``: by the hash of every state that may be found, how accurate it was on the gate split. As many newer
    states as ``refusals`` says have to be refused.
    """
    fresh = scene.fresh()
    restored = vault.bring(fresh)
    found = digest(fresh.trainer)
    whole, accuracy = found in accuracies, score(fresh.network, fresh.trainer.data.gate).accuracy
    return Outcome(
        fault=fault,
        steps=0 if len(restored.refused) == refusals else None,
        whole=whole,
        metric=accuracy - accuracies[found] if whole else None,
        told=restored.refused[0].partition(": ")[2] if restored.refused else f"generation {restored.generation}",
    )


def _damage(path: Path, damage: str, rng: np.random.Generator) -> None:
    blob = bytearray(path.read_bytes())
    match damage:
        case "flipped bit":
            blob[rng.integers(len(blob))] ^= 1 << int(rng.integers(8))
        case "cut short":
            del blob[rng.integers(1, len(blob)) :]
        case "empty":
            blob.clear()
    path.write_bytes(blob)
