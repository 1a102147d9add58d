"""Simulated boards and links that drive the real runtime on a virtual clock, and a relay that breaks a real network.

Every figure from a simulation is labelled simulated.
"""
