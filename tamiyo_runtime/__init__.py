"""The torch-free runtime: what a board installs.

Opens a signed bundle, runs one of its configurations under latency, energy, memory and link
budgets, and reports what it did. Depends on numpy and the standard library; interpreters, MQTT
and signatures are optional extras, imported only where they are used.
"""

__version__ = "0.1.0"
