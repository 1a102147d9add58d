"""Which operator, in which module, a converter failed on; looked for only once it has failed.

Converters raise what they like: some name the operator, some only break. So the module is traced again by torch alone
and searched: for the operator that was named, else for one that no TFLite interpreter has a form of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.backends.toolchain import quiet
from exporters.ops.rewrites import BRANCH, HOST_CODE, advice, plain_name
from tamiyo_runtime.contracts.errors import IncompatibleError

if TYPE_CHECKING:
    import torch
    from torch import nn

_NAMED = re.compile(r"Lowering not found: (?P<a>[\w.]+)|target=torch\.ops\.(?P<b>[\w.]+)\]")
_CODE = re.compile(r"Didn't find op for builtin opcode '(?P<a>\w+)'")
_NEVER = frozenset(
    {
        *("topk", "sort", "argsort", "median", "kthvalue", "cond", "while_loop", "histc", "cummax", "cummin", "unique"),
        *("bernoulli", "rand", "randn", "rand_like", "randn_like", "multinomial", "linalg_inv", "linalg_inv_ex"),
        *("fft_fft", "fft_rfft", "fft_ifft", "_fft_c2c", "_fft_r2c", "_fft_c2r", "view_as_complex", "stft"),
    }
)
_BRANCHES = ("GuardOnDataDependentSymNode", "data-dependent", "Dynamic control flow")
_ARRAYS = (".numpy()", "FakeTensor", "Can't call numpy()")
_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """An operator and the module it is called in: its path and class, the path empty for the part itself."""

    operator: str
    path: str
    kind: str

    @property
    def where(self) -> str:
        """The module in words."""
        return f"module '{self.path}' ({self.kind})" if self.path else f"the part itself ({self.kind})"


def explained(error: IncompatibleError, module: nn.Module, example: torch.Tensor, *, part: str) -> IncompatibleError:
    """The error with operator, module and what to write instead, where these can be found; else as it was."""
    found = find(error, module, example)
    if found is None:
        return error
    better = IncompatibleError(
        f"{part}: the converter has no form of {found.operator}, used in {found.where}",
        hint=advice(found.operator) or error.hint,
    )
    better.__cause__ = error
    return better


def find(error: BaseException, module: nn.Module, example: torch.Tensor) -> Culprit | None:
    """The first call in ``module`` of the operator that ``error`` names, or of one that never converts."""
    text = "\n".join(str(item) for item in _chain(error))
    named = [name for match in _NAMED.finditer(text) for name in match.groups() if name]
    code = _CODE.search(text)
    wanted = {plain_name(name) for name in named}
    try:
        calls = list(_calls(module, example))
    except Exception as exc:  # noqa: BLE001  torch.export raises dozens of kinds; which is what is being found out
        return _untraceable(exc, module, example)
    for names in (wanted, _NEVER):
        for call in calls:
            if plain_name(call.operator) in names:
                return call
    if code is not None:
        return Culprit(operator=code["a"], path="", kind=type(module).__name__)
    return None


def _calls(module: nn.Module, example: torch.Tensor) -> Iterator[Culprit]:
    import torch

    with quiet(), torch.no_grad():
        program = torch.export.export(module, (example,), strict=False)
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        path, kind = _place(node.meta.get("nn_module_stack"), module)
        yield Culprit(operator=_name(node.target), path=path, kind=kind)


def _name(target: Any) -> str:
    """``aten.topk`` for an overload of it, ``cond`` for what torch calls a higher-order operator."""
    packet = getattr(target, "overloadpacket", None)
    return str(packet) if packet is not None else str(getattr(target, "__name__", target))


def _place(stack: Any, module: nn.Module) -> tuple[str, str]:
    """The innermost module of a node's stack of {key: (path, class)}."""
    entries = list((stack or {}).values())
    if not entries:
        return "", type(module).__name__
    path, kind = entries[-1]
    name = kind if isinstance(kind, str) else kind.__qualname__
    return str(path), name.rpartition(".")[2]


def _untraceable(error: Exception, module: nn.Module, example: torch.Tensor) -> Culprit | None:
    """What torch itself could not trace, in the innermost module that it could not trace by itself."""
    import torch

    text = "\n".join((type(error).__name__, *(str(item) for item in _chain(error))))
    if any(sign in text for sign in _BRANCHES):
        operator = BRANCH
    elif any(sign in text for sign in _ARRAYS):
        operator = HOST_CODE
    else:
        return None
    inputs: dict[str, tuple[Any, ...]] = {}
    hooks = [
        child.register_forward_pre_hook(lambda _, args, path=path: inputs.setdefault(path, args) and None)
        for path, child in module.named_modules()
    ]
    try:
        with torch.no_grad():
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
    found, kind = "", type(module).__name__
    for path, child in module.named_modules():
        if not path.startswith(f"{found}." if found else "") or path not in inputs:
            continue
        try:
            with quiet(), torch.no_grad():
                torch.export.export(child, inputs[path], strict=False)
        except Exception:  # noqa: BLE001  the same failure, closer to its place
            found, kind = path, type(child).__name__
    return Culprit(operator=operator, path=found, kind=kind)


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(_DEPTH):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__
