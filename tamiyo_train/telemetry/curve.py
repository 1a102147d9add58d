"""The learning curve and what the policy is told of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The learning curve so far: mean loss and accuracy on the training batches of each window, oldest first."""

    losses: tuple[float, ...] = ()
    accuracies: tuple[float, ...] = ()

    def features(self, accuracy: float) -> dict[str, float]:
        """Level, slope, curvature and gap to the validation accuracy; what has no window yet is left out.

        The level is a window's own mean: there is no running average that would have to forget its start.
        """
        features: dict[str, float] = {}
        if self.losses:
            features["loss_level"] = self.losses[-1]
            features["generalisation_gap"] = self.accuracies[-1] - accuracy
        if len(self.losses) > 1:
            features["loss_slope"] = self.losses[-1] - self.losses[-2]
        if len(self.losses) > 2:
            features["loss_curvature"] = self.losses[-1] - 2 * self.losses[-2] + self.losses[-3]
        return features
