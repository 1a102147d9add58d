"""Compilers of accelerators' vendors, one file each: run apart, their logs read back as data."""
