"""Targets: what to compile for a device, as its profile says in ``[export]``.

Every profile is a target under its own id, and so is a profile file of the user's own; adding a board takes no code.
A variant is one compiled form; the order is the order a runtime should prefer them in.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from device_profiles.loader import SUFFIX, load_profile, profile_ids
from device_profiles.profile import Profile
from exporters.vendors.shipped import VendorCompiler, vendors
from tamiyo_runtime.contracts.errors import SchemaError
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

    @property
    def int8_tflite(self) -> bool:
        """Whether it is what accelerators and their compilers take; QDQ graphs in ONNX are for runtimes on hosts."""
        return self.precision is Precision.INT8 and self.format is Format.TFLITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to compile for a device, and what is known of how it runs there.

    ``profile`` is an id or the path of a file. ``layout`` is the profile's word on how seeds are switched: ``auto``
    leaves it to what a boundary costs. ``max_whole``: most whole configurations. ``operator_table`` names the rules by
    which operators are placed on an accelerator; ``options`` go to its compiler.
    """

    name: str
    title: str
    profile: str
    variants: tuple[VariantRecipe, ...]
    gating: str
    layout: str = "auto"
    operator_table: str | None = None
    compiler: VendorCompiler | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    max_whole: int = 8

    def laid_out(self, layout: Layout) -> Target:
        """The target with its TFLite variants in this layout."""
        variants = tuple(
            replace(item, layout=layout) if item.format is Format.TFLITE else item for item in self.variants
        )
        return replace(self, variants=variants)


targets: Registry[Target] = Registry("targets")

FLOAT_SEGMENTS = VariantRecipe(
    id="tflite-float", format=Format.TFLITE, precision=Precision.FLOAT32, layout=Layout.SEGMENTS
)
INT8_SEGMENTS = VariantRecipe(id="tflite-int8", format=Format.TFLITE, precision=Precision.INT8, layout=Layout.SEGMENTS)
FLOAT_GATED = VariantRecipe(id="onnx-float", format=Format.ONNX, precision=Precision.FLOAT32, layout=Layout.GATED)
INT8_ONNX = VariantRecipe(id="onnx-int8", format=Format.ONNX, precision=Precision.INT8, layout=Layout.WHOLE)

RECIPES: Mapping[str, VariantRecipe] = {
    item.id: item for item in (FLOAT_SEGMENTS, INT8_SEGMENTS, FLOAT_GATED, INT8_ONNX)
}
_OLD_DENSE = frozenset({"edge-tpu"})  # operator tables whose compilers know one scale a fully connected layer only
_SEGMENTS = (
    "TFLite: one graph a segment, seeds are left out of the chain; int8 passes the seams raw. "
    "ONNX: one graph with an If a seed."
)
_WHOLE = (
    "TFLite: every boundary is dear, so whole configurations: the bare host, the full network and the best between "
    "them by accuracy and cost"
)
_AUTO = (
    "by cost: whole configurations where boundaries would cost more than 5 % of the network and the graphs fit, else "
    "one graph a segment, with seeds too small to switch alone in groups. ONNX: one graph with an If a seed or group"
)
_GATING = {"segments": _SEGMENTS, "whole": _WHOLE, "auto": _AUTO}


def find_target(name: str) -> Target:
    """The target of that name, or of the profile in the file of that path when it ends in ``.toml``.

    Raises UnknownNameError with near names, and what `load_profile` raises for a file.
    """
    return target_of(load_profile(name), name=name) if name.endswith(SUFFIX) else targets.get(name)


def target_of(profile: Profile, *, name: str | None = None) -> Target:
    """The target that a profile describes; raises SchemaError when its ``[export]`` names what is not known here."""
    hints = profile.export
    place = profile.id if name is None else name  # in messages: a file of the user's is known by its path
    whole = hints.layout == "whole"
    variants = []
    for item in hints.variants:
        recipe = RECIPES[_known(place, "variants", item, RECIPES)]
        variants.append(
            replace(
                recipe,
                layout=Layout.WHOLE if whole and recipe.format is Format.TFLITE else recipe.layout,
                per_tensor_dense=hints.operator_table in _OLD_DENSE,
            )
        )
    compiler = hints.compiler and vendors.get(_known(place, "compiler", hints.compiler, vendors.names()))
    if compiler:
        _check_options(place, hints.options, compiler)
    return Target(
        name=profile.id if name is None or name.endswith(SUFFIX) else name,
        title=profile.title,
        profile=profile.id if name is None or not name.endswith(SUFFIX) else name,
        variants=tuple(variants),
        gating=_GATING[hints.layout],
        layout=hints.layout,
        operator_table=hints.operator_table,
        compiler=compiler or None,
        options=hints.options,
        max_whole=8 if hints.operator_table is None else 4,  # each takes room in the accelerator's cache
    )


def _check_options(place: str, options: Mapping[str, str], compiler: VendorCompiler) -> None:
    try:
        compiler.check(options)
    except SchemaError as exc:
        raise SchemaError(f"{place}: {exc.path}", exc.message.removeprefix(f"{exc.path}: ")) from exc


def _known(place: str, key: str, name: str, legal: Collection[str]) -> str:
    if name not in legal:
        near = difflib.get_close_matches(name, legal, n=2, cutoff=0.5)
        raise SchemaError(
            f"{place}: export.{key}",
            f"'{name}' is not one of {', '.join(sorted(legal))}",
            hint=f"did you mean {' or '.join(near)}?" if near else None,
        )
    return name


for _id in profile_ids():
    targets.register(_id)(target_of(load_profile(_id)))
# The name people know the device by.
targets.register("edge-tpu")(replace(target_of(load_profile("coral-usb")), name="edge-tpu"))
