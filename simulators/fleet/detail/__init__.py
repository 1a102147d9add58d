"""Devices of a simulated fleet that run the real runtime, on virtual clocks, beside those of the vector engine.

`device` is one of them from boot to the end of the simulation, `link` and `far_end` are what it meets, `air` says
what becomes of its frames among everybody else's, `settle` brings the two to agree, `figures` is what a run leaves.
Everything here is simulated but the runtime itself.
"""
