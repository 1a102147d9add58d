"""Simulated boards and links that drive the real runtime on a virtual clock.

Every figure from here is labelled simulated.
"""
