"""The 15 corruptions of MNIST-C (Mu and Gilmer 2019), written anew for images of any size; 5 severities each.

Amounts at each severity are those of its authors' code where it has them, in pixels of 28 x 28; for stripe, lines,
zigzag and edges, which it has in one strength, and for blur, fog and spatter, which here are other formulas, they are
this project's. ``corrupted(images, name, severity, seed=...)`` does the work.
"""

from tamiyo_train.corruptions import blur, geometry, light, noise, strokes  # noqa: F401  (they register themselves)
from tamiyo_train.corruptions.base import SEVERITIES, Corruption, corrupted, corruptions

__all__ = ["SEVERITIES", "Corruption", "corrupted", "corruptions"]
