"""Fleets: many devices of several kinds over simulated links, for days, as one scenario. All of it is simulated.

`scenario` is what is simulated, `reading` its file, `resolve` works it out, `engine` runs it, `result` is what a run
leaves. Models and limits are in docs/fleet.md.
"""
