"""What is known of a device: compute, memory, power and supported operators as TOML, and the cost model on top."""
