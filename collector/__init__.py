"""The operator's side of telemetry.

Takes batches off the broker, stores each record once, acknowledges after the commit, keeps the ledger.
"""
