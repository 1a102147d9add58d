"""Probe kits: small graphs of varied operators whose times on a device tell what its operators cost.

Families of single operators, repeated operators and small networks, each graph in float32 and int8. Sizes are drawn
from a seed, so a kit of one seed has the same bytes wherever it is made with the same tools.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporters.backends.drawing import Drawing, Node
from exporters.backends.flatbuffer import read_model
from exporters.ops.counting import count
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.runs import KIT_SCHEMA, Probe, ProbeKit, Work
from tamiyo_runtime.probekit import write_kit
from tamiyo_runtime.signing import SigningKey

Random = np.random.Generator
Draw = Callable[[Random, Precision, int], bytes]
REFERENCE = "separable-network-0"


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of graph and how many of it go into a kit, in each precision."""

    draw: Draw
    count: int
    precisions: tuple[Precision, ...] = (Precision.INT8, Precision.FLOAT32)


def write_probes(
    path: Path, key: SigningKey, *, seed: int = 0, families: Mapping[str, Family] | None = None, overwrite: bool = False
) -> ProbeKit:
    """Draw a kit, sign it and write it; returns its contents. Raises InputError when the file exists.

    ``families`` None stands for all; a kit needs the family of the reference.
    """
    probes, files = [], {}
    for family, entry in (FAMILIES if families is None else families).items():
        for number in range(entry.count):
            for precision in entry.precisions:
                data = entry.draw(_random(seed, family, number), precision, number)
                suffix = "" if precision is Precision.INT8 else "-float"
                name = f"{family}-{number}{suffix}"
                model = read_model(data)
                files[f"{family}/{name}.tflite"] = data
                probes.append(
                    Probe(
                        id=name,
                        family=family,
                        precision=precision,
                        graph=model.graph(f"{family}/{name}.tflite"),
                        ops=tuple(
                            Work(
                                kind=op.kind,
                                macs=op.macs,
                                weight_bytes=op.weight_bytes,
                                input_bytes=op.input_bytes,
                                output_bytes=op.output_bytes,
                                code=operator.code,
                                params=op.params,
                                gemm=op.gemm,
                                groups=op.groups,
                                window=op.window,
                            )
                            for op, operator in zip(count(model.operators), model.operators, strict=True)
                        ),
                    )
                )
    kit = ProbeKit(schema=KIT_SCHEMA, seed=seed, reference=REFERENCE, probes=tuple(probes), files={})
    write_kit(path, kit, files, key, overwrite=overwrite)
    return kit


def _random(seed: int, family: str, number: int) -> Random:
    """Both precisions of a probe draw the same sizes; a new family does not change the others."""
    digest = hashlib.sha256(f"{seed}/{family}/{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _pick(rng: Random, *options: int) -> int:
    return int(options[int(rng.integers(len(options)))])


def _image(rng: Random, precision: Precision, *, sides: tuple[int, ...], channels: tuple[int, ...]) -> Drawing:
    side = _pick(rng, *sides)
    return Drawing((1, side, side, _pick(rng, *channels)), precision, rng)


def _conv(rng: Random, precision: Precision, _number: int) -> bytes:
    kernel, wide = _pick(rng, 1, 1, 3, 3, 5), _pick(rng, 8, 12, 16, 24, 32, 48, 64)
    d = _image(rng, precision, sides=(6, 8, 12, 16, 24), channels=(8, 12, 16, 24, 32, 64))
    return d.done(d.conv(d.input, wide, (kernel, kernel), stride=_pick(rng, 1, 1, 2), relu=bool(rng.integers(2))))


def _convs(rng: Random, precision: Precision, _number: int) -> bytes:
    d = _image(rng, precision, sides=(4, 8, 12), channels=(8, 16, 20, 32))
    x, kernel = d.input, _pick(rng, 1, 3)
    for _ in range(_pick(rng, 2, 4, 6)):
        x = d.conv(x, x.shape[3], (kernel, kernel))
    return d.done(x)


def _stem(rng: Random, precision: Precision, _number: int) -> bytes:
    """The first layer of a network for images: one or three channels in."""
    d = _image(rng, precision, sides=(16, 28, 32, 48), channels=(1, 3))
    return d.done(d.conv(d.input, _pick(rng, 8, 16, 32), (3, 3), stride=_pick(rng, 1, 2)))


def _series(rng: Random, precision: Precision, _number: int) -> bytes:
    """A convolution along time, (k, 1)."""
    d = Drawing((1, _pick(rng, 64, 128, 187), 1, _pick(rng, 8, 16, 32)), precision, rng)
    x = d.conv(d.input, _pick(rng, 16, 32), (_pick(rng, 3, 5, 7), 1))
    return d.done(d.conv(x, _pick(rng, 16, 24), (3, 1), stride=2))


def _depthwise(rng: Random, precision: Precision, _number: int) -> bytes:
    d = _image(rng, precision, sides=(6, 8, 12, 16, 24, 32), channels=(8, 16, 24, 32, 64))
    x, kernel = d.input, _pick(rng, 3, 3, 5)
    for _ in range(_pick(rng, 1, 1, 2, 3)):
        x = d.depthwise(x, (kernel, kernel), stride=_pick(rng, 1, 1, 2))
    return d.done(x)


def _dense(rng: Random, precision: Precision, _number: int) -> bytes:
    d = Drawing((1, _pick(rng, 32, 64, 128, 256, 400, 512)), precision, rng)
    x = d.input
    for _ in range(_pick(rng, 1, 1, 2, 3)):
        x = d.dense(x, _pick(rng, 10, 32, 64, 128, 256))
    return d.done(x)


_REPEATS = (1, 1, 2, 4, 6)
_CODES: Mapping[str, tuple[str, ...]] = {
    "elementwise": ("ADD", "MUL"),
    "activation": ("HARD_SWISH",),
    "rectifier": ("RELU", "RELU6"),
    "exponential": ("SOFTMAX", "LOGISTIC", "TANH"),
    "movement": ("RESHAPE", "CONCATENATION", "TRANSPOSE", "PAD"),
    "pool": ("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"),
}


def _one_code(family: str) -> Draw:
    """Graphs of one operator, several times over; which of the family's it is goes round with the probe's number."""

    def draw(rng: Random, precision: Precision, number: int) -> bytes:
        codes = _CODES[family]
        code = codes[number % len(codes)]
        if code == "SOFTMAX":
            d = Drawing((1, _pick(rng, 10, 64, 256, 512, 1000)), precision, rng)
        else:
            d = _image(rng, precision, sides=(4, 8, 12, 16, 24, 32), channels=(8, 12, 16, 24, 32))
        x = d.input
        for _ in range(_pick(rng, *_REPEATS)):
            x = _apply(d, x, code, rng)
        return d.done(x)

    return draw


def _apply(d: Drawing, x: Node, code: str, rng: Random) -> Node:
    if code in _CODES["elementwise"]:  # a sum of two branches, a scaling of channels
        return d.combine(code, x, d.input if code == "ADD" else d.constant((1, 1, 1, x.shape[3])))
    if code == "MEAN":
        return d.mean(x)
    if code.endswith("POOL_2D"):
        return d.pool(x, min(_pick(rng, 2, 2, 3, 4), x.shape[1]), largest=code.startswith("MAX"))
    if code == "RESHAPE":
        return d.reshape(x, (1, x.shape[2], x.shape[1] * 2, x.shape[3] // 2) if x.shape[3] % 2 == 0 else x.shape)
    if code == "PAD":
        return d.pad(x, 1)
    if code == "CONCATENATION":
        return d.concat(x, d.input)
    if code == "TRANSPOSE":
        return d.transpose(x, (0, 2, 1, 3))
    return d.unary(code, x)


def _classify(d: Drawing, x: Node, rng: Random, *, softmax: bool = True) -> bytes:
    """The usual end of a network: mean or flatten, a fully connected layer, perhaps a softmax."""
    x = d.dense(d.flatten(d.mean(x)), _pick(rng, 2, 10, 12), relu=False)
    return d.done(d.unary("SOFTMAX", x) if softmax and rng.integers(2) else x)


def _convolutional(rng: Random, precision: Precision, _number: int) -> bytes:
    d = _image(rng, precision, sides=(8, 14, 16, 28), channels=(1, 3))
    wide, x = _pick(rng, 6, 8, 12, 16), d.input
    for _ in range(_pick(rng, 2, 3)):
        x = d.conv(x, wide, (3, 3))
        if x.shape[1] > 4:
            x = d.pool(x, 2, largest=bool(rng.integers(2)))
        wide = wide * 3 // 2
    return _classify(d, x, rng)


def _separable(rng: Random, precision: Precision, _number: int) -> bytes:
    """Depth-wise and point-wise convolutions in turn, as in MobileNet and DS-CNN."""
    d = _image(rng, precision, sides=(16, 24, 28, 32), channels=(1, 3))
    wide = _pick(rng, 8, 16, 24, 32)
    x = d.conv(d.input, wide, (3, 3), stride=2)
    for _ in range(_pick(rng, 1, 2, 3, 4)):
        stride = _pick(rng, 1, 1, 2) if x.shape[1] > 4 else 1
        x = d.conv(d.depthwise(x, stride=stride), min(x.shape[3] * stride, 96))
    return _classify(d, x, rng)


def _residual(rng: Random, precision: Precision, _number: int) -> bytes:
    d = _image(rng, precision, sides=(8, 12, 16, 24), channels=(1, 3))
    x = d.conv(d.input, _pick(rng, 8, 16, 24), (3, 3), stride=_pick(rng, 1, 2))
    for _ in range(_pick(rng, 1, 2, 3)):
        y = d.conv(d.conv(x, x.shape[3], (3, 3)), x.shape[3], (3, 3), relu=False)
        x = d.combine("ADD", x, y, relu=True)
    return _classify(d, x, rng)


def _bottleneck(rng: Random, precision: Precision, _number: int) -> bytes:
    """Inverted residuals: expand, depth-wise, project, add."""
    d = _image(rng, precision, sides=(8, 12, 16), channels=(8, 12, 16, 24))
    x = d.input
    for _ in range(_pick(rng, 1, 2)):
        y = d.depthwise(d.conv(x, x.shape[3] * _pick(rng, 2, 4)), (3, 3))
        x = d.combine("ADD", x, d.conv(y, x.shape[3], relu=False))
    return _classify(d, x, rng) if rng.integers(2) else d.done(x)


def _excited(rng: Random, precision: Precision, _number: int) -> bytes:
    """Squeeze and excitation: channels scaled by what their means say."""
    d = _image(rng, precision, sides=(6, 8, 12, 16), channels=(8, 16, 32))
    x = d.conv(d.input, _pick(rng, 16, 32), (3, 3))
    for _ in range(_pick(rng, 1, 2)):
        share = d.unary("LOGISTIC", d.conv(d.conv(d.mean(x), x.shape[3] // 4), x.shape[3], relu=False))
        x = d.combine("MUL", x, share)
    return _classify(d, x, rng) if rng.integers(2) else d.done(x)


def _perceptron(rng: Random, precision: Precision, _number: int) -> bytes:
    d = Drawing((1, _pick(rng, 32, 64, 187, 256)), precision, rng)
    wide = _pick(rng, 32, 64, 128)
    x = d.dense(d.input, wide)
    for _ in range(_pick(rng, 0, 1, 2, 3)):
        y = d.dense(d.dense(x, wide // 4), wide, relu=False)
        x = d.combine("ADD", x, y)
    x = d.dense(x, 10, relu=False)
    return d.done(d.unary("SOFTMAX", x) if rng.integers(2) else x)


def _autoencoder(rng: Random, precision: Precision, _number: int) -> bytes:
    size, wide = _pick(rng, 64, 128, 320), _pick(rng, 32, 64, 128)
    d = Drawing((1, size), precision, rng)
    x = d.input
    for features in (wide, wide, 8, wide, wide):
        x = d.dense(x, features)
    return d.done(d.dense(x, size, relu=False))


def _gated(rng: Random, precision: Precision, _number: int) -> bytes:
    """Gated linear units, and what is around them where two branches meet."""
    d = Drawing((1, _pick(rng, 32, 64, 128)), precision, rng)
    x, wide = d.input, _pick(rng, 32, 64)
    for _ in range(_pick(rng, 1, 2)):
        x = d.combine("MUL", d.dense(x, wide, relu=False), d.unary("LOGISTIC", d.dense(x, wide, relu=False)))
    both = d.concat(x, d.dense(d.input, wide))
    return d.done(d.dense(both, 10, relu=False))


def _temporal(rng: Random, precision: Precision, _number: int) -> bytes:
    """A network for a time series: convolutions along time."""
    d = Drawing((1, _pick(rng, 64, 96, 187), 1, _pick(rng, 1, 3, 8)), precision, rng)
    x = d.conv(d.input, _pick(rng, 8, 16), (7, 1), stride=2)
    for _ in range(_pick(rng, 1, 2, 3)):
        x = d.conv(x, min(x.shape[3] * 2, 48), (_pick(rng, 3, 5), 1), stride=_pick(rng, 1, 2))
    return _classify(d, x, rng)


FAMILIES: Mapping[str, Family] = {
    "conv2d": Family(_conv, 14),
    "conv2d-repeated": Family(_convs, 6),
    "conv2d-stem": Family(_stem, 7),
    "conv2d-series": Family(_series, 5),
    "depthwise": Family(_depthwise, 12),
    "dense": Family(_dense, 10),
    "pool": Family(_one_code("pool"), 18),
    "elementwise": Family(_one_code("elementwise"), 12),
    "activation": Family(_one_code("activation"), 8),
    "rectifier": Family(_one_code("rectifier"), 8, (Precision.FLOAT32,)),  # in int8 always fused by converters
    "exponential": Family(_one_code("exponential"), 18),
    "movement": Family(_one_code("movement"), 24),
    "convolutional-network": Family(_convolutional, 12),
    "separable-network": Family(_separable, 12),
    "residual-network": Family(_residual, 11),
    "bottleneck-network": Family(_bottleneck, 10),
    "excited-network": Family(_excited, 8),
    "perceptron": Family(_perceptron, 7),
    "autoencoder": Family(_autoencoder, 5),
    "gated-network": Family(_gated, 6),
    "temporal-network": Family(_temporal, 9),
}
