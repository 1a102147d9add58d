"""The page of a simulated fleet: one file for a browser, made from a run's result alone, the same bytes each time."""
