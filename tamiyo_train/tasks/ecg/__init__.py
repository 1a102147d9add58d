"""Stage 3, the electrocardiogram: `model` integrates it, `patients` differ, `beats` and `rhythms` make the classes."""

from tamiyo_train.tasks.ecg.task import draw, ecg

__all__ = ["draw", "ecg"]
