"""What the policy is told while a network grows: readings, and the features made of them. Reading changes nothing."""

from tamiyo_train.telemetry.curve import Curve
from tamiyo_train.telemetry.features import budget_left, global_features, slot_features, vector
from tamiyo_train.telemetry.reading import PROBES, Reading, SlotReading, drift_of, read

__all__ = [
    "PROBES",
    "Curve",
    "Reading",
    "SlotReading",
    "budget_left",
    "drift_of",
    "global_features",
    "read",
    "slot_features",
    "vector",
]
