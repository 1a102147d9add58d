"""A picture of images under every corruption and severity, as one SVG file that needs nothing else.

python -m tamiyo_train.corruptions.sheet > docs/corruptions.svg
"""

from __future__ import annotations

import base64
import struct
import sys
import zlib

import numpy as np
from numpy.typing import NDArray

from tamiyo_train.corruptions import SEVERITIES, corrupted, corruptions

_CELL, _GAP, _LEFT, _TOP = 64, 8, 150, 44


def sheet(image: NDArray[np.floating], *, seed: int = 0) -> str:
    """An image (height, width) in 0..1 as it is and at each severity, a row a corruption."""
    rows = [
        np.stack([image, *(corrupted(image[None], name, severity, seed=seed)[0] for severity in SEVERITIES)])
        for name in corruptions.names()
    ]
    step = _CELL + _GAP
    width, height = _LEFT + step * (1 + len(SEVERITIES)), _TOP + step * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="13"><title>An image under every corruption, by severity</title>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
    ]
    for column, title in enumerate(["clean", *map(str, SEVERITIES)]):
        parts.append(f'<text x="{_LEFT + step * column + _CELL // 2}" y="30" text-anchor="middle">{title}</text>')
    for row, (name, images) in enumerate(zip(corruptions.names(), rows, strict=True)):
        top = _TOP + step * row
        parts.append(f'<text x="10" y="{top + _CELL // 2 + 5}">{name}</text>')
        for column, shown in enumerate(images):
            data = base64.b64encode(png(shown)).decode()
            parts.append(
                f'<image x="{_LEFT + step * column}" y="{top}" width="{_CELL}" height="{_CELL}" '
                f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
            )
    return "\n".join([*parts, "</svg>\n"])


def png(image: NDArray[np.floating]) -> bytes:
    """A grey image (height, width) in 0..1 as a PNG file of 8 bits, ink black."""
    grey = np.rint(255 * (1 - np.clip(image, 0, 1))).astype(np.uint8)
    lines = np.pad(grey, ((0, 0), (1, 0)))  # each line begins with its filter, 0: none
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


if __name__ == "__main__":
    from tamiyo_train.tasks.digits import digits

    sys.stdout.write(sheet(digits().test.x[7, 0] / 16))
