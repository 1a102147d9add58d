"""Fault injection: what can go wrong while a network grows is made to go wrong, and what comes of it is measured.

scene.py        a network caught in mid-growth, that can be put back to that moment at any time
kinds.py        the registry of faults, and what a trial of one is
arithmetic.py   weights, buffers and moments that are not finite
explosions.py   losses and activations that blow up, budgets that are breached
broken.py       blueprints that do not keep their promises
checkpoints.py  states on disk that are damaged
killed.py       processes that are killed while they swap and save
campaign.py     many seeded trials, spread over processes, and the rollback rate with its bound
"""
