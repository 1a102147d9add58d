"""5G NR, LTE, LTE-M and NB-IoT uplinks at flow level: radio state, rate, latency, outages and energy, all simulated.

    figures    a value with where it is from, published or not
    streams    counter-based random numbers: a draw depends on what it is for, not on what was drawn before
    pathloss   3GPP TR 38.901: path loss, LOS probability, shadowing
    rates      CQI and slot tables, SINR, rate: a ladder of rungs
    coverage   repetitions and transport blocks of LTE-M and NB-IoT: a ladder too
    fading     shadowing that is correlated in time; outages as a two-state chain
    latency    one transfer as a sum: wait, grant, slots, HARQ, core network
    handover   gaps while the cell changes
    rrc        radio states with promotions, tails and their energy
    reach      round trip of a probe that has to wake the device
    presets    networks, as data
    luck       what chance has in store for single transfers
    trace      many devices, step by step, in numpy

Not a physical-layer simulator: no waveform, no fast fading, no scheduler with other users, no MIMO above rank 1.
"""
