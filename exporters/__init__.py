"""Compiles a grown network and its policy for a target: segments, quantisation, placement, a signed bundle.

Knows nothing of the training side: it is handed an `ExportRequest` of plain modules and arrays, so a network
that never saw tamiyo can be exported as well. torch, onnx and the TFLite toolchain are imported inside the
backends only.
"""
