"""The ports between the loop and whatever produces samples.

A `Source` holds all its samples and checks them before the first is given out: one that turns out to be unusable
halfway has wasted the energy of its first half. A `Stream` has no length: samples arrive when they do, some are lost,
and losing one is counted and told, not an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_runtime.sources.address import Address

Array = NDArray[Any]


class Sample(NamedTuple):
    """A raw sample, shaped as the manifest's input says, and its class where that is known.

    ``arrived_s``: of one that came by itself, on the clock that times it: the machine's monotonic one, or a simulated.
    """

    value: Array
    label: int | None
    arrived_s: float | None = None


class Source(Protocol):
    """Samples, all known beforehand; iterating a second time starts again from the front."""

    label: str

    def __iter__(self) -> Iterator[Sample]:
        """All samples, once."""

    def __len__(self) -> int:
        """How many there are."""


class Loss(StrEnum):
    """Why something that arrived was not given to the loop."""

    QUEUE_FULL = "queue_full"  # the loop was busy: which sample goes is the stream's ``drop`` option
    TOO_FAST = "too_fast"  # more messages a second than ``rate`` allows
    TOO_LONG = "too_long"
    NOT_NUMBERS = "not_numbers"
    WRONG_COUNT = "wrong_count"  # numbers, but not as many as the bundle takes, or in another shape
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"  # beyond the range of the sensor that the network was trained on
    CUT_OFF = "cut_off"  # the connection ended in the middle of a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What came in so far. ``state``: of the connection, in a few words."""

    received: int = 0
    lost: Mapping[Loss, int] = field(default_factory=dict)
    state: str = ""


class Stream(Protocol):
    """Samples that arrive. ``live``: at a pace of their own, rather than whenever one is asked for.

    One thread calls everything; what waits for input runs in a thread of the stream's own.
    """

    label: str
    live: bool

    def start(self) -> None:
        """Begin to take in samples; raises InputError where that can be known to be impossible."""

    def take(self, timeout_s: float) -> Sample | None:
        """The next sample, waiting for it up to ``timeout_s`` without using the processor.

        Raises InputError when all that came in first was unusable, or when nothing ever came and nothing will.
        """

    def ended(self) -> bool:
        """Whether no sample will come any more."""

    def intake(self) -> Intake:
        """Counts so far."""

    def close(self) -> None:
        """Stop taking in, at once; may be called twice."""


class Opener(Protocol):
    """What is registered: a class, mostly."""

    @staticmethod
    def open(bundle: Bundle, address: Address) -> Source | Stream:
        """Open for a bundle's input; raises InputError naming what cannot be used, UnknownNameError for an option."""


sources: Registry[type[Opener]] = Registry("sources")


def open_source(text: str, bundle: Bundle) -> Source | Stream:
    """What a command line's ``--source`` names; raises UnknownNameError, InputError."""
    address = Address.parse(text, sources.names())
    return sources.get(address.kind).open(bundle, address)


def length_of(source: Source | Stream) -> int | None:
    """How many samples there are, None for a stream."""
    return len(source) if isinstance(source, Sized) else None


def check_sample(value: Array, spec: InputSpec, name: str) -> Array:
    """The sample, if it has the shape, the type and the range that the bundle expects; raises InputError.

    ``(H, W)`` stands for one channel. Numbers of any kind become float32, except uint8, which stays.
    """
    if value.dtype.kind not in "uif":
        raise InputError(f"{name} holds {value.dtype} values, not numbers", hint="store it as float32 or uint8")
    if value.shape != spec.shape and spec.layout.startswith("C") and (1, *value.shape) == spec.shape:
        value = value[np.newaxis]
    if value.shape != spec.shape:
        raise InputError(
            f"{name} has shape {list(value.shape)}, the bundle takes {list(spec.shape)} ({spec.layout})",
            hint="resize the sample, or run the bundle that was made for it",
        )
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise InputError(f"{name} holds NaN or infinite values", hint="repair or remove the file")
    low, high = float(value.min()), float(value.max())
    if low < spec.raw_low or high > spec.raw_high:
        raise InputError(
            f"{name} holds values from {low:g} to {high:g}, the bundle takes {spec.raw_low:g} to {spec.raw_high:g}",
            hint="scale the sample to the range of the sensor that the network was trained on",
        )
    return value if value.dtype == np.uint8 else np.ascontiguousarray(value, np.float32)
