"""Population training: many perceptrons with their seeds at once, as stacked tensors. `Population` is the way in."""

from tamiyo_train.population.population import Population
from tamiyo_train.population.refill import Job, trained

__all__ = ["Job", "Population", "trained"]
