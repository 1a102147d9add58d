"""The stages. Bounds are fixed here and nowhere else; a stage that misses one says by how much.

All ten are there.
"""

from __future__ import annotations

from tamiyo_train.curriculum.stage import Curriculum, Stage, at_least, at_most

_CPU, _GPU, _EDGE_TPU, _TPU, _EDGE = "x86-64", "gpu-server", "coral-usb", "cloud-tpu", "ethos-u55-128"

CURRICULUM = Curriculum(
    (
        Stage(
            id="0",
            title="two spirals of 2.5 turns",
            task="spirals",
            warm_ups=("moons", "complex-moons"),
            profile=_CPU,
            taught=("bottleneck", "low-rank"),
            success=at_least("accuracy", 0.99),
            safety=(at_most("bare host", 0.80), at_most("drift", 0.15)),
        ),
        Stage(
            id="1",
            title="handwritten digits",
            task="digits",
            profile=_GPU,
            taught=("squeeze-excite", "depthwise"),
            success=at_least("accuracy", 0.92),
            safety=(at_least("rollback", 0.98), at_most("attack drop", 0.05)),
            width=8,
            attack=0.1,
            formats=("idx", "mnist-json"),
        ),
        Stage(
            id="2",
            title="a language of known entropy, letter by letter",
            task="language",
            profile=_GPU,
            taught=("adapter", "mini-attention-causal"),
            success=at_most("bits/char", 1.0),
            safety=(at_most("bits above entropy", 0.15), at_most("alerts", 0.0)),
            width=8,
        ),
        Stage(
            id="2.5",
            title="digits under 15 corruptions, 10 of them never trained on",
            task="digits-c",
            profile=_GPU,
            taught=("denoiser", "attention-filter"),
            success=at_least("accuracy", 0.90),
            safety=(at_least("denoise", 0.95), at_most("clean loss", 0.01), at_least("rollback", 0.98)),
        ),
        Stage(
            id="3",
            title="heartbeats, split by patient",
            task="ecg",
            profile=_EDGE_TPU,
            taught=("sliding-conv", "sparse-activation"),
            width=8,
            success=at_least("macro-auc", 0.95),
            safety=(at_most("latency p99 (ms)", 5.0), at_least("safeguards", 1.0)),
            formats=("wfdb",),
        ),
        Stage(
            id="3.5",
            title="Gaussian clusters",
            task="clusters",
            profile=_EDGE_TPU,
            taught=("squeeze-excite", "glu"),
            success=at_least("purity", 0.95),
            safety=(at_most("drift", 0.05), at_most("alerts", 0.0)),
        ),
        Stage(
            id="4",
            title="concentric spheres in ten dimensions",
            task="spheres",
            profile=_TPU,
            taught=("residual-mlp", "widening"),
            success=at_least("accuracy", 0.97),
            safety=(at_most("drift", 0.10), at_least("rollback", 0.99)),
        ),
        Stage(
            id="4.5",
            title="the caption of an image among 100, for combinations never trained on",
            task="captions",
            profile=_TPU,
            taught=("cross-attention", "latent-align"),
            success=at_least("recall@1", 0.60),
            safety=(at_most("cross-modal drift", 0.05), at_most("membership AUC", 0.55)),
        ),
        Stage(
            id="5",
            title="parity of four inputs among eight, and a checkerboard",
            task="xor",
            warm_ups=("checkerboard",),
            profile=_GPU,
            taught=("low-rank", "nested"),
            success=at_least("accuracy", 0.99),
            safety=(
                at_most("drift", 0.05),
                at_least("useful seeds", 1.0),
                at_least("accuracy", 0.99, on="checkerboard"),
                at_most("drift", 0.05, on="checkerboard"),
                at_least("useful seeds", 1.0, on="checkerboard"),
            ),
        ),
        Stage(
            id="6",
            title="movements of users, on a microcontroller's NPU",
            task="imu",
            profile=_EDGE,
            taught=("quant-adapter", "fail-safe-bottleneck"),
            width=3,
            success=at_least("int8 accuracy", 0.88),
            safety=(
                at_most("energy (uJ)", 15.0),
                at_most("latency p99 (ms)", 1.0),
                at_least("delivered under loss", 1.0),
            ),
            formats=("har", "hapt"),
        ),
    )
)
