"""Adapters round the export toolchain: modules or bytes in, bytes out. Nothing here knows of targets or bundles."""
