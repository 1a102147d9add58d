"""What to write instead of an operator that a converter or an accelerator does not take.

Names are those of TFLite (``BATCH_MATMUL``) and of torch (``aten.topk.default``) alike.
"""

from __future__ import annotations

BRANCH = "a branch on a tensor's value"
HOST_CODE = "numpy code"

_SMOOTH = "use ReLU, ReLU6 or nn.Hardswish"
_SORTING = "keep what exceeds a fixed threshold, such as relu(x - t), instead of the largest k"
_COMPARING = "multiply by relu6(a * (x - t)) or a sigmoid instead of a mask of comparisons"
_ATTENTION = "use squeeze-excite or depthwise convolutions instead of attention; its products have no constant weights"
_NORM = "use nn.BatchNorm, which folds into the layer before it"
_BRANCHING = "compute both sides and blend them, or make the branch a seed that the runtime switches"
_SPECTRUM = "transform before the network, or multiply by a constant matrix of cosines and sines as an nn.Linear"
_INVERSE = "unroll a fixed number of steps of multiplications and additions"
_RANDOM = "draw numbers in training only; a deployed module gives the same answer every time"
_RUNNING = "use a convolution over the window that matters, or nn.MaxPool with stride 1"

_ADVICE: dict[str, tuple[str, ...]] = {
    _SMOOTH: ("gelu", "elu", "silu", "mish", "softplus", "selu", "erf", "erfinv", "hard_swish", "exp", "sign"),
    _SORTING: ("topk", "topk_v2", "sort", "stablehlo_sort", "argsort", "median", "kthvalue", "unique", "histc"),
    _COMPARING: (
        *("greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "select", "select_v2", "where"),
        *("cast", "dequantize", "gt", "lt", "ge", "le", "nonzero", "masked_fill"),
    ),
    _ATTENTION: ("batch_matmul", "bmm", "baddbmm", "matmul", "scaled_dot_product_attention", "softmax"),
    _NORM: (
        *("squared_difference", "rsqrt", "native_layer_norm", "layer_norm", "native_group_norm", "group_norm"),
        *("instance_norm", "sqrt", "var_mean"),
    ),
    _BRANCHING: ("cond", "while_loop", "if", "while", BRANCH),
    _SPECTRUM: (
        *("fft_fft", "fft_rfft", "fft_ifft", "_fft_c2c", "_fft_r2c", "_fft_c2r", "stft", "view_as_complex"),
        *("view_as_real", "complex", "polar"),
    ),
    _INVERSE: (
        "linalg_inv",
        "linalg_inv_ex",
        "linalg_solve",
        "_linalg_solve_ex",
        "linalg_svd",
        "_linalg_svd",
        "linalg_eigh",
    ),
    _RANDOM: ("bernoulli", "rand", "randn", "rand_like", "randn_like", "randint", "multinomial", "normal"),
    _RUNNING: ("cummax", "cummin", "cumprod", "logcumsumexp"),
    "write the one-dimensional convolution as nn.Conv2d with a kernel of (k, 1)": ("conv1d", "conv_3d", "conv3d"),
    "reduce over height and width, or over a number of channels that is a multiple of 4": ("mean", "sum"),
    "write it in torch operators, so that it can be traced": (HOST_CODE,),
}
_BY_NAME = {name: text for text, names in _ADVICE.items() for name in names}


def plain_name(operator: str) -> str:
    """The name without name space and overload: ``aten.topk.default`` and ``topk`` are one operator."""
    if operator in _BY_NAME:
        return operator
    parts = operator.removeprefix("torch.ops.").split(".")
    spaces = {"aten", "higher_order", "prims"}
    return (parts[1] if len(parts) > 1 and parts[0] in spaces else parts[0]).lower()


def advice(operator: str) -> str | None:
    """``instead of X: ...`` for a reader; None when there is nothing better to say."""
    text = _BY_NAME.get(plain_name(operator))
    return None if text is None else f"instead of {operator}: {text}"


def known(operator: str) -> bool:
    """Whether an operator is one of those that are known to make trouble somewhere."""
    return plain_name(operator) in _BY_NAME
