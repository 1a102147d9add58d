"""The operator tables that ship: importing this module files them in the registry."""

from __future__ import annotations

from exporters.ops import edge_tpu, ethos_u, tflite_micro
from exporters.ops.table import tables

__all__ = ["edge_tpu", "ethos_u", "tables", "tflite_micro"]
