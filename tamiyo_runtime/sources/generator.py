"""A sensor that does not exist, for trying out: ``generator?seed=1&noise=.05&drift=.001&outliers=.01&count=500``.

Samples are those of the bundle's test set, with their labels, in an order of chance; without a test set, smooth random
signals. On top come what real sensors add: ``noise`` (standard deviation), ``drift`` (of the zero point, a sample) and
``outliers`` (share of samples of which a tenth of the values is replaced), the first two as shares of the input's
range. One seed, one history.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import SAMPLES, Bundle
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import Intake, Sample, sources
from tamiyo_runtime.sources.bundled import BundleSource

_SPOILT = 0.1
_ENDLESS = 0


@sources.register("generator")
class Generator:
    """A `Stream` that has a sample whenever one is asked for."""

    live = False

    def __init__(
        self,
        spec: InputSpec,
        patterns: list[Sample],
        *,
        seed: int = 0,
        noise: float = 0.05,
        drift: float = 0.0,
        outliers: float = 0.0,
        count: int = _ENDLESS,
    ) -> None:
        """``patterns`` empty: smooth random signals without labels. ``count`` 0: without an end."""
        self.label = f"generator, seed {seed}" + (f" ({count} samples)" if count else "")
        self._spec, self._patterns = spec, patterns
        self._rng = np.random.default_rng(seed)
        self._span = spec.raw_high - spec.raw_low
        self._noise, self._drift, self._outliers, self._count = noise, drift, outliers, count
        self._given = 0

    @classmethod
    def open(cls, bundle: Bundle, address: Address) -> Generator:
        """As the options say; raises InputError, UnknownNameError."""
        address.only("seed", "noise", "drift", "outliers", "count")
        patterns = []
        if SAMPLES in bundle.names:
            patterns = list(BundleSource.open(bundle, Address(text="bundle", kind="bundle")))
        return cls(
            bundle.manifest.input,
            patterns,
            seed=address.whole("seed", 0, low=0, high=2**32),
            noise=address.number("noise", 0.05, low=0, high=1),
            drift=address.number("drift", 0, low=-1, high=1),
            outliers=address.number("outliers", 0, low=0, high=1),
            count=address.whole("count", _ENDLESS, low=0, high=10**12),
        )

    def start(self) -> None:
        """Nothing to wait for."""

    def take(self, timeout_s: float) -> Sample | None:
        """The next sample, at once; None after the last."""
        if self.ended():
            return None
        pattern = self._pattern()
        value = pattern.value.astype(np.float64) + self._rng.normal(0.0, self._noise * self._span, self._spec.shape)
        value += self._drift * self._span * self._given
        if self._rng.random() < self._outliers:
            spoilt = self._rng.random(self._spec.shape) < _SPOILT
            value[spoilt] = self._rng.uniform(self._spec.raw_low, self._spec.raw_high, int(spoilt.sum()))
        self._given += 1
        clipped = np.clip(value, self._spec.raw_low, self._spec.raw_high)  # as a sensor at its stop
        return Sample(np.ascontiguousarray(clipped, np.float32), pattern.label)

    def ended(self) -> bool:
        """Whether ``count`` samples have been given."""
        return self._count != _ENDLESS and self._given >= self._count

    def intake(self) -> Intake:
        """Nothing is ever lost."""
        return Intake(received=self._given)

    def close(self) -> None:
        """Nothing to let go of."""

    def _pattern(self) -> Sample:
        if self._patterns:
            return self._patterns[int(self._rng.integers(len(self._patterns)))]
        return Sample(self._smooth(), None)

    def _smooth(self) -> NDArray[np.float64]:
        """A sum of three waves over the elements in C order, within the middle half of the range."""
        places = np.linspace(0.0, 1.0, int(np.prod(self._spec.shape)))
        waves = sum(
            np.sin(2 * np.pi * (frequency * places + self._rng.random()))
            for frequency in self._rng.uniform(0.5, 6.0, 3)
        )
        middle = (self._spec.raw_low + self._spec.raw_high) / 2
        return np.asarray(middle + self._span / 12 * waves).reshape(self._spec.shape)
