"""Regions of a host with many slots: a slow allocator splits the budget, the policy decides inside each."""
