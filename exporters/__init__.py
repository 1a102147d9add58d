"""Compiles a network for a target: graphs, quantisation, placement, a signed bundle.

Knows nothing of the training side: it is handed an `ExportRequest` of plain modules and arrays, so a network
that never saw tamiyo can be exported as well: `request_of_module`, then `export_module`. torch, onnx and the TFLite
toolchain are imported inside the backends only.
"""

from exporters.plain import export_module, request_of_module
from exporters.request import ExportRequest, PolicyModule, SeedModule

__all__ = ["ExportRequest", "PolicyModule", "SeedModule", "export_module", "request_of_module"]
