"""Simulated links, registered by name with the runtime's link registry."""
