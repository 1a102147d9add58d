"""The command line: the only place that may import every package, and does so lazily."""
