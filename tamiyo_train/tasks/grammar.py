"""A source of text whose entropy is known exactly: a finite-state grammar over words.

In every state a word is drawn, and leads to another state. All words of a state end with the same kind of mark (a space
or a full stop) and none has a mark inside, so text is read back without ambiguity: state and letters so far say
everything about what may come, and a word costs as many bits as its choice. This makes both figures exact:

    rate            sum_s pi(s) H(words of s) / sum_s pi(s) E(length of a word of s), pi stationary
    first n letters sum over letters of E(entropy of the next letter), states propagated from the start
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require

MARKS = " ."
Node = tuple[str, str]
"""A state of the grammar and the letters of its word so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A word, its mark included, that is drawn with probability ``share`` and leads to state ``then``."""

    word: str
    share: float
    then: str


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """States and their choices; ``start``: the state that every text begins in."""

    start: str
    states: Mapping[str, tuple[Choice, ...]]

    def __post_init__(self) -> None:
        require(self.start in self.states, "start", f"there is no state '{self.start}'")
        for name, choices in self.states.items():
            words = [choice.word for choice in choices]
            marked = all(len(w) > 1 and w[-1] in MARKS and not set(w[:-1]) & set(MARKS) for w in words)
            require(marked, name, "every word is letters and one mark at its end")
            require(len(words) == len(set(words)), name, "a word has two meanings")
            total = sum(choice.share for choice in choices)
            require(all(c.share > 0 for c in choices), name, "every share must be above 0")
            require(abs(total - 1) < 1e-9, name, f"shares add up to {total}")
            for choice in choices:
                require(choice.then in self.states, name, f"'{choice.word}' leads to no state")

    @cached_property
    def alphabet(self) -> str:
        """Every letter there is, marks included, in order."""
        return "".join(sorted({letter for choices in self.states.values() for c in choices for letter in c.word}))

    @cached_property
    def nodes(self) -> Mapping[Node, Mapping[str, tuple[float, Node]]]:
        """For every node: probability of each next letter, and the node it leads to."""
        found: dict[Node, dict[str, tuple[float, Node]]] = {}
        for state, choices in self.states.items():
            for prefix in sorted({choice.word[:cut] for choice in choices for cut in range(len(choice.word))}):
                here = [choice for choice in choices if choice.word.startswith(prefix)]
                whole = sum(choice.share for choice in here)
                following: dict[str, tuple[float, Node]] = {}
                for letter in sorted({choice.word[len(prefix)] for choice in here}):
                    on = [choice for choice in here if choice.word[len(prefix)] == letter]
                    node = (on[0].then, "") if letter in MARKS else (state, prefix + letter)
                    following[letter] = sum(choice.share for choice in on) / whole, node
                found[state, prefix] = following
        return found

    @cached_property
    def rate(self) -> float:
        """Entropy rate, bits a letter. The stationary distribution is that of the words' chain."""
        names = list(self.states)
        moves = np.zeros((len(names), len(names)))
        for row, name in enumerate(names):
            for choice in self.states[name]:
                moves[row, names.index(choice.then)] += choice.share
        system = np.vstack([moves.T - np.eye(len(names)), np.ones(len(names))])
        stationary = np.linalg.lstsq(system, np.append(np.zeros(len(names)), 1.0), rcond=None)[0]
        bits = np.array([_entropy([c.share for c in self.states[name]]) for name in names])
        lengths = np.array([sum(c.share * len(c.word) for c in self.states[name]) for name in names])
        return float(stationary @ bits / (stationary @ lengths))

    def entropy(self, letters: int) -> float:
        """Mean entropy of the first ``letters`` letters, each given all before it, bits a letter."""
        return float(np.mean(self.entropies(letters)))

    def entropies(self, letters: int) -> NDArray[np.float64]:
        """Entropy of each of the first letters given all before it, bits."""
        numbers = {node: row for row, node in enumerate(self.nodes)}
        moves = np.zeros((len(numbers), len(numbers)))
        own = np.zeros(len(numbers))
        for node, following in self.nodes.items():
            own[numbers[node]] = _entropy([share for share, _ in following.values()])
            for share, then in following.values():
                moves[numbers[node], numbers[then]] += share
        at = np.zeros(len(numbers))
        at[numbers[self.start, ""]] = 1
        bits = np.empty(letters)
        for index in range(letters):
            bits[index] = at @ own
            at = at @ moves
        return bits

    def draw(self, letters: int, rng: np.random.Generator) -> str:
        """The first ``letters`` letters of a text."""
        text: list[str] = []
        state, length = self.start, 0
        while length < letters:
            choices = self.states[state]
            choice = choices[int(rng.choice(len(choices), p=[c.share for c in choices]))]
            text.append(choice.word)
            length += len(choice.word)
            state = choice.then
        return "".join(text)[:letters]

    def bits(self, text: str) -> NDArray[np.float64]:
        """What each letter of a text costs whoever knows the grammar, bits; infinite where it cannot come."""
        node, costs = (self.start, ""), np.full(len(text), math.inf)
        for index, letter in enumerate(text):
            if letter not in self.nodes[node]:
                break
            share, node = self.nodes[node][letter]
            costs[index] = -math.log2(share)
        return costs


def _entropy(shares: Sequence[float]) -> float:
    return -sum(share * math.log2(share) for share in shares)
