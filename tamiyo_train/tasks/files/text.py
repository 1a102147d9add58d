"""A text file as a language to learn: the next letter, at every letter.

Letters are lower-cased, runs of blanks become one, and what is rarer than the commonest 47 becomes one letter, U+FFFD.
 A sample is 64 letters as one-hot channels, each input being the letter before it, (alphabet, 64);
labels are the letters, (64,). The text is cut into 80, 5, 5 and 10 % in its order, so that no split sees another's.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.files import read_bytes
from tamiyo_train.tasks.base import Split, Task
from tamiyo_train.tasks.files.base import Format, formats

LETTERS = 64
MOST = 48
"""Letters of an alphabet."""
OTHER = "\ufffd"
SHARES: Mapping[str, float] = {"train": 0.8, "gate": 0.05, "score": 0.05, "test": 0.1}
_LIMIT_BYTES = 16 << 20
_LEAST = 20
"""Samples of the smallest split."""


def read(path: Path) -> Task:
    """The file as a task; raises InputError when it is no UTF-8 or too short."""
    raw = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="text file")
    try:
        text = " ".join(raw.decode("utf-8").lower().split())
    except UnicodeDecodeError as exc:
        raise InputError(f"{path}, byte {exc.start}: not UTF-8", hint="save it as UTF-8") from exc
    samples = (len(text) - 1) // LETTERS
    if samples * min(SHARES.values()) < _LEAST:
        needed = int(_LEAST / min(SHARES.values())) * LETTERS
        raise InputError(
            f"{path} has {len(text)} letters, too few to split", hint=f"{needed + LETTERS} or more are needed"
        )
    common = [letter for letter, _ in Counter(text).most_common(MOST - 1)]
    alphabet = tuple(sorted(common)) + ((OTHER,) if len(set(text)) > len(common) else ())
    if len(alphabet) < 2:
        raise InputError(f"{path} has one letter only, '{alphabet[0]}'", hint="there is nothing to tell apart")
    code = {letter: number for number, letter in enumerate(alphabet)}
    codes = np.array([code.get(letter, len(alphabet) - 1) for letter in text], np.int64)
    before, y = (codes[late : late + samples * LETTERS].reshape(samples, LETTERS) for late in (0, 1))
    x = np.ascontiguousarray(np.eye(len(alphabet), dtype=np.float32)[before].transpose(0, 2, 1))
    ends = np.rint(np.cumsum([0.0, *SHARES.values()]) * samples).astype(int)
    train, gate, score, test = (Split(x=x[first:last], y=y[first:last]) for first, last in itertools.pairwise(ends))
    spec = InputSpec(shape=(len(alphabet), LETTERS), layout="CT", offset=0.0, scale=1.0, raw_low=0.0, raw_high=1.0)
    return Task(
        name="text",
        classes=alphabet,
        input=spec,
        train=train,
        gate=gate,
        score=score,
        test=test,
        metric="bits/char",
    )


TEXT = Format(
    name="text",
    what="a text file (.txt) in UTF-8",
    looks_like=lambda path: path.is_file() and path.suffix.lower() == ".txt",
    read=read,
)
formats.register("text")(TEXT)
