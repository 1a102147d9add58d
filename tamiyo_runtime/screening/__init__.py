"""What a graph's file is made of, looked at before an interpreter is: the interpreters are C++ and trust a good deal.

Pure Python and no library of the formats, so that a board can do it. `screen` refuses what reaches outside the file
(ONNX external data, TFLite offsets past the end) and what asks for absurd amounts of memory. It does not execute a
graph and does not know operators' options: a file by a signer whom you trust may still make an interpreter fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.contracts.plan import Format
from tamiyo_runtime.screening.onnx import check_onnx
from tamiyo_runtime.screening.tflite import check_tflite
from tamiyo_runtime.screening.unsafe import UnsafeGraph

_CHECKS: Mapping[str, Callable[[bytes], None]] = {
    f".{Format.ONNX}": check_onnx,
    f".{Format.TFLITE}": check_tflite,
}


def screen(files: Mapping[str, bytes], *, source: str) -> None:
    """Look through every graph among ``files``, known by its suffix; raises IntegrityError naming the bad one."""
    for name, data in files.items():
        for suffix, check in _CHECKS.items():
            if name.endswith(suffix):
                try:
                    check(data)
                except UnsafeGraph as exc:
                    raise IntegrityError(
                        f"{source}: '{name}' {exc}", hint="don't run it; ask its signer, or export the bundle again"
                    ) from exc
