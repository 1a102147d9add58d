"""The compilers that ship: importing this module files them in the registry."""

from __future__ import annotations

from exporters.vendors import edgetpu, vela
from exporters.vendors.compiler import VendorCompiler, vendors

__all__ = ["VendorCompiler", "edgetpu", "vela", "vendors"]
