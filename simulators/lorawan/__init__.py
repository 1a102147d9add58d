"""Fleets of LoRaWAN class A devices, packet by packet: who is heard, what it costs, what the network answers.

Two engines share one model and give the same verdict for every packet: `open_loop` takes schedules as arrays, a
million packets a second; `closed_loop` follows each device through duty cycle, retransmissions, ADR and join.
Models, formulas and sources are in docs/lorawan.md. Every figure that comes out of here is simulated.
"""
