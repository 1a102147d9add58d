"""Published measurements that the cost model is held against, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from device_profiles.ops import Op, OpKind


@dataclass(frozen=True)
class Network:
    """MACs by class, weights and operators of a network, and the times published for it, ms."""

    fully_connected: int
    conv: int
    depthwise: int
    operators: int
    pi4_ms: float

    def graph(self) -> list[Op]:
        """Operators of the right work and number. The classes are additive, so one operator a class will do."""
        work = [
            Op(OpKind.FULLY_CONNECTED, self.fully_connected, 0, 0, 0),
            Op(OpKind.CONV2D, self.conv, 0, 0, 0),
            Op(OpKind.DEPTHWISE_CONV2D, self.depthwise, 0, 0, 0),
        ]
        return work + [Op(OpKind.DATA_MOVEMENT, 0, 0, 0, 0)] * (self.operators - len(work))


# MACs recounted from the .tflite files of mlcommons/tiny. Pi 4: MLPerf Tiny v0.5, closed division, Raspberry Pi 4 with
# LEIP int8.
MLPERF_TINY = {
    "ad": Network(264_192, 0, 0, 10, pi4_ms=0.192),
    "kws": Network(768, 2_368_000, 288_000, 13, pi4_ms=0.42),
    "vww": Network(512, 6_690_816, 798_336, 31, pi4_ms=2.60),
    "ic": Network(640, 12_500_992, 0, 16, pi4_ms=1.07),
}


@dataclass(frozen=True)
class CoralRow:
    """MMACs at its input size, millions of parameters, side of its input, and the time published, ms."""

    mega_macs: float
    mega_params: float
    side: int
    ms: float


# coral.ai, "Edge TPU performance benchmarks", desktop CPU + USB Accelerator (USB 3.0), ms; MMACs and parameters from
# the networks' papers. Not listed: networks with operators left on the CPU (SSD, DeepLab, Unet), and
# EfficientNet-EdgeTpu, of which no paper gives the MACs.
CORAL_USB3 = {
    "MobileNet v1": CoralRow(569, 4.24, 224, 2.4),
    "MobileNet v2": CoralRow(300, 3.47, 224, 2.6),
    "Inception v1": CoralRow(1500, 6.6, 224, 3.4),
    "Inception v4": CoralRow(12_300, 42.7, 299, 85.0),
    "SqueezeNet": CoralRow(860, 1.25, 224, 2.1),
    "ResNet-50 v1, 299": CoralRow(7000, 25.6, 299, 49.0),
    "ResNet-50 v2, 299": CoralRow(7000, 25.6, 299, 50.0),
    "ResNet-152 v2, 299": CoralRow(20_500, 60.4, 299, 128.0),
    "VGG16": CoralRow(15_500, 138.4, 224, 296.0),
    "VGG19": CoralRow(19_600, 143.7, 224, 308.0),
}
CORAL_OUTLIERS = {
    "DenseNet": CoralRow(2870, 8.0, 224, 20.0),
    "Inception-ResNet v2": CoralRow(13_200, 55.9, 299, 57.0),
}
# The same table's column of the Dev Board: the same chip on PCIe, behind a Cortex-A53.
CORAL_DEV_BOARD = {
    name: replace((CORAL_USB3 | CORAL_OUTLIERS)[name], ms=ms)
    for name, ms in {
        "MobileNet v1": 2.4,
        "MobileNet v2": 2.6,
        "Inception v1": 4.1,
        "Inception v4": 102.0,
        "SqueezeNet": 2.0,
        "ResNet-50 v1, 299": 56.0,
        "VGG16": 343.0,
        "DenseNet": 25.0,
    }.items()
}


@dataclass(frozen=True)
class JetsonRow:
    """MACs by class, operators about, and frames a second."""

    conv: int
    depthwise: int
    dense: int
    operators: int
    frames_per_s: float


# NVIDIA, "Jetson Nano: deep learning inference benchmarks", TensorRT, half precision, batch 1; MACs from the networks'
# papers, operators counted from their figures, a fused activation with its layer.
JETSON_NANO = {
    "ResNet-50, 224": JetsonRow(4_087_000_000, 0, 2_048_000, 72, 36),
    "MobileNet v2, 224": JetsonRow(278_000_000, 20_716_416, 1_280_000, 65, 64),
    "Inception v4, 299": JetsonRow(12_270_000_000, 0, 1_536_000, 180, 11),
    "VGG-19, 224": JetsonRow(19_510_000_000, 0, 123_600_000, 25, 10),
}

# SCALE-Sim 3.0, output-stationary, 16 x 16, cycles of all layers.
SCALE_SIM_CYCLES = {"ad": 19_716, "kws": 93_976, "ic": 58_996}

# coral.ai, "Edge TPU performance benchmarks", column of the Cortex-A53 (quad-core, 1.5 GHz, TFLite on the CPU): MACs of
# convolutions and of depthwise ones, ms. MACs as above; those of the MobileNets counted from their papers' tables.
A53_MHZ = 1500
CORAL_A53 = {
    "MobileNet v1": (551_355_392, 17_385_984, 164.0),
    "MobileNet v2": (280_059_136, 20_716_416, 122.0),
    "Inception v1": (1_500_000_000, 0, 392.0),
    "Inception v4": (12_300_000_000, 0, 3157.0),
    "SqueezeNet": (860_000_000, 0, 232.0),
    "ResNet-50 v1, 299": (7_000_000_000, 0, 1763.0),
    "VGG16": (15_500_000_000, 0, 4595.0),
    "DenseNet": (2_870_000_000, 0, 1032.0),
}

# aallan/benchmarking-ml-on-the-edge, README (MIT): SSD MobileNet v2 and v1 (0.75) at 300 x 300 in TFLite, ms. Its
# program asks for four threads, so only ratios between boards are used.
SSD_MOBILENET = {
    "raspberry-pi-3": (379.6, 271.5),
    "raspberry-pi-4": (112.6, 82.7),
    "raspberry-pi-5": (23.5, 16.9),
}
SSD_MOBILENET_FLOAT = {
    "raspberry-pi-3": (654.0, 480.3),
    "raspberry-pi-4": (483.5, 263.9),
    "raspberry-pi-5": (148.9, 66.2),
}
"""The same networks in TensorFlow, float32."""
