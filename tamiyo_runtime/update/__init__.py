"""Over-the-air updates: two slots, one record written in one step, chunks in any order, signed commands, a trial.

    states      what may follow what in a slot, as one table
    record      all that a device remembers, one document
    moves       the record after a step: pure functions
    chunks      a file cut to the size of a link's payload, every piece with its hash
    commands    a signed order and what may be said to it: pure, bytes in, decision out
    health      whether a bundle on trial stays: pure, figures in, verdict out
    messages    what a device says of all this over the air
    fetch       a file that is asked for piece by piece
    effect, reports   what an order comes to, and the record as a message
    disk        the few operations on files that all of this needs, as a port
    transfer, store   the shells that read and write
    agent       what a device does with it all, step by step; `exchange` and `thread` put it beside the loop
    orders, shelf, rollout, desk   the operator's side: what is sent, what is asked for, and where a fleet is with it

Nothing here opens a socket: see `tamiyo_runtime.transport`, and docs/update.md.
"""
