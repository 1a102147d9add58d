"""The demo: the whole path on one machine, ending in a report one can look at."""
