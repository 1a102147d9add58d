"""The distributions that make and check graphs: one list for the manifest, the plan and the bill of materials."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from tamiyo_runtime import __version__

TOOLS = (
    *("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "numpy"),
    *("onnx", "onnxscript", "onnxslim", "onnxruntime", "cryptography", "cyclonedx-python-lib"),
)


def versions(compiler: tuple[str, str | None] | None = None) -> dict[str, str]:
    """Versions of ours, the tools and a vendor's ``compiler`` (program, version); ``missing`` where there is none."""
    found = {"tamiyo-edge": __version__}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    if compiler is not None:
        found[compiler[0]] = compiler[1] or "missing"
    return found
