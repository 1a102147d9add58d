"""Stage 2: the next letter of a generated language, at every letter of a text, in bits a letter.

A sentence is an article, perhaps adjectives, a noun and a verb, which agree in number whatever stands between them, so
a good guess needs words that lie far back. The language is drawn from the grammar here and its entropy is exact, see
`tasks.grammar`: no network can do better, and what it needs above that is its own.

A sample is ``LETTERS`` letters from the start of a text as one-hot channels, each letter's input being the letter
before it (a full stop the first); labels are the letters themselves, (N, LETTERS).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks.base import Split, Task, check_samples, stages
from tamiyo_train.tasks.grammar import Choice, Grammar

LETTERS = 64
SIZES = {"train": 2000, "gate": 250, "score": 250, "test": 500}
_SEED = 2000

_ARTICLES = {"one": ("a", "the", "this", "each"), "many": ("some", "all", "these", "two")}
_ADJECTIVES = ("red", "old", "big", "sad", "shy", "wet", "lame", "tame")
_NOUNS = ("ant", "ape", "bee", "cat", "cow", "dog", "emu", "hen", "owl", "pig", "rat", "seal", "swan", "toad")
_VERBS = ("run", "eat", "sit", "nap", "hum", "dig", "sing", "hide")


def _equally(words: tuple[str, ...], then: str, share: float = 1.0) -> tuple[Choice, ...]:
    return tuple(Choice(word=word, share=share / len(words), then=then) for word in words)


def _grammar() -> Grammar:
    states: dict[str, tuple[Choice, ...]] = {
        "sentence": tuple(
            choice
            for number, articles in _ARTICLES.items()
            for choice in _equally(tuple(f"{word} " for word in articles), f"noun, {number}", 0.5)
        )
    }
    adjectives = tuple(f"{word} " for word in _ADJECTIVES)
    for number, noun_ending, verb_ending in (("one", "", "s"), ("many", "s", "")):
        nouns = tuple(f"{word}{noun_ending} " for word in _NOUNS)
        states[f"noun, {number}"] = (
            *_equally(adjectives, f"noun, {number}", 0.4),
            *_equally(nouns, f"verb, {number}", 0.6),
        )
        verbs = tuple(f"{word}{verb_ending}" for word in _VERBS)
        states[f"verb, {number}"] = _equally(tuple(f"{word}." for word in verbs), "sentence")
    return Grammar(start="sentence", states=states)


GRAMMAR = _grammar()
ALPHABET = GRAMMAR.alphabet
ENTROPY = GRAMMAR.entropy(LETTERS)
"""Bits a letter that a sample costs whoever knows the grammar: what a network is held against."""
INPUT = InputSpec(shape=(len(ALPHABET), LETTERS), layout="CT", offset=0.0, scale=1.0, raw_low=0.0, raw_high=1.0)


@stages.register("language")
def language() -> Task:
    """The task: 2,000 texts to train on, 250 for the gates, 250 for the score, 500 to test."""
    rng = np.random.default_rng(_SEED)
    splits = {name: draw(size, rng=rng) for name, size in SIZES.items()}
    for split in splits.values():
        check_samples(split.x, split.y, spec=INPUT, classes=len(ALPHABET))
    return Task(name="language", classes=tuple(ALPHABET), input=INPUT, metric="bits/char", **splits)  # type: ignore[arg-type]  # by name


def draw(texts: int, *, rng: np.random.Generator) -> Split:
    """As many texts, each from the start of a sentence."""
    return encoded([GRAMMAR.draw(LETTERS, rng) for _ in range(texts)])


def encoded(texts: list[str]) -> Split:
    """Texts of ``LETTERS`` letters as samples."""
    y = np.array([[ALPHABET.index(letter) for letter in text] for text in texts], np.int64)
    before: NDArray[np.int64] = np.concatenate([np.full((len(y), 1), ALPHABET.index(".")), y[:, :-1]], axis=1)
    x = np.eye(len(ALPHABET), dtype=np.float32)[before].transpose(0, 2, 1)
    return Split(x=np.ascontiguousarray(x), y=y)
