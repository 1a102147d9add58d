"""Targets: a device profile plus the recipe of what to compile for it.

A variant is one compiled form; the order is the order a runtime should prefer them in.
"""

from __future__ import annotations

from dataclasses import dataclass

from tamiyo_runtime.contracts.plan import Format, Layout, Precision
from tamiyo_runtime.contracts.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRecipe:
    """One compiled form of the network. ``per_tensor_dense``: one weight scale a fully connected layer."""

    id: str
    format: Format
    precision: Precision
    layout: Layout
    per_tensor_dense: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorCompiler:
    """A program that turns int8 TFLite files into the device's own; run when it is on PATH."""

    program: str
    flags: tuple[str, ...]
    where: str

    def command(self, *files: str, out_dir: str = ".") -> tuple[str, ...]:
        """The command line for these files."""
        return (self.program, *self.flags, "--out_dir", out_dir, *files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to compile for a device, and what is known of how it runs there.

    ``max_whole``: most whole configurations, for layouts in which a boundary is dear. ``gating``: how seeds are
    switched. ``operator_table`` names the rules by which operators are placed on an accelerator.
    """

    name: str
    title: str
    profile: str
    variants: tuple[VariantRecipe, ...]
    gating: str
    operator_table: str | None = None
    compiler: VendorCompiler | None = None
    max_whole: int = 4


targets: Registry[Target] = Registry("targets")

FLOAT_SEGMENTS = VariantRecipe(
    id="tflite-float", format=Format.TFLITE, precision=Precision.FLOAT32, layout=Layout.SEGMENTS
)
INT8_SEGMENTS = VariantRecipe(id="tflite-int8", format=Format.TFLITE, precision=Precision.INT8, layout=Layout.SEGMENTS)
FLOAT_GATED = VariantRecipe(id="onnx-float", format=Format.ONNX, precision=Precision.FLOAT32, layout=Layout.GATED)
INT8_WHOLE = VariantRecipe(
    id="tflite-int8", format=Format.TFLITE, precision=Precision.INT8, layout=Layout.WHOLE, per_tensor_dense=True
)

_SEGMENTS = (
    "TFLite: one graph a segment, seeds are left out of the chain; int8 passes the seams raw. "
    "ONNX: one graph with an If a seed."
)

targets.register("x86-64")(
    Target(
        name="x86-64",
        title="a 64-bit x86 CPU, LiteRT or ONNX Runtime, one thread",
        profile="x86-64",
        variants=(FLOAT_SEGMENTS, INT8_SEGMENTS, FLOAT_GATED),
        gating=_SEGMENTS,
    )
)
targets.register("raspberry-pi-4")(
    Target(
        name="raspberry-pi-4",
        title="Raspberry Pi 4, 64-bit, LiteRT on the CPU, one thread",
        profile="raspberry-pi-4",
        variants=(INT8_SEGMENTS, FLOAT_SEGMENTS, FLOAT_GATED),
        gating=_SEGMENTS,
    )
)
targets.register("edge-tpu")(
    Target(
        name="edge-tpu",
        title="Coral USB Accelerator (Edge TPU) behind a Raspberry-Pi-class host",
        profile="coral-usb",
        variants=(INT8_WHOLE,),
        gating=(
            "every boundary is a trip over the bus, so whole configurations: the bare host, the full network and the "
            "best between them by accuracy and cost"
        ),
        operator_table="edge-tpu",
        compiler=VendorCompiler(
            program="edgetpu_compiler",
            flags=("--show_operations",),
            where="https://coral.ai/docs/edgetpu/compiler (Debian package edgetpu-compiler, x86-64)",
        ),
    )
)
