"""Weights of the reward, tuned: habits are played once, and every trial prices the same outcomes anew."""
