"""Float graphs, each piece converted once; what int8 is made from, and what ships as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from device_profiles.cost import Op, OpKind
from exporters.backends import onnx, tflite
from exporters.backends.culprit import explained
from exporters.backends.flatbuffer import read_model
from exporters.backends.joining import join
from exporters.backends.toolchain import quiet
from exporters.compiled import Artefact, Compiled, graph_file
from exporters.evaluate import check_parity
from exporters.network import Piece, Stage
from exporters.request import PolicyModule
from exporters.steps.budget import Budgeted
from exporters.steps.capture import Captured
from exporters.steps.outcome import Outcome, ok
from exporters.targets import FLOAT_SEGMENTS, Target, VariantRecipe
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.observation import Heads, observation_size
from tamiyo_runtime.contracts.plan import Format, Graph, Layout, Precision
from tamiyo_runtime.contracts.units import plural
from tamiyo_runtime.interpreters import open_graph

if TYPE_CHECKING:
    from torch import nn

GATED = "network"
FLOAT_WHOLE = replace(FLOAT_SEGMENTS, layout=Layout.WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policy's graphs by format, their files, and torch's answers to the request's samples.

    ``differences``: the largest absolute one from torch, by format.
    """

    graphs: Mapping[Format, Graph]
    files: Mapping[str, bytes]
    differences: Mapping[Format, float]
    outputs: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floats:
    """``segments``/``wholes``: float TFLite by piece or configuration, what int8 is made from; ``compiled``: variants
    that ship; ``bases``: those, and float forms of what ships in int8 only; ``logits`` of ``compiled`` on the test set
    by variant and configuration, known once their parity has been checked.
    """

    segments: Mapping[str, bytes]
    wholes: Mapping[str, bytes]
    compiled: tuple[Compiled, ...]
    bases: tuple[Compiled, ...]
    policy: Policies | None
    logits: Mapping[str, Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = field(default_factory=dict)


def run(captured: Captured, target: Target, budgeted: Budgeted, wholes: tuple[str, ...]) -> tuple[Floats, Outcome]:
    """Convert what the target's variants need; ``wholes`` are the configurations of a whole layout.

    Raises IncompatibleError, naming operator and module where they can be found, when a piece can't be converted.
    """
    layouts = {recipe.layout for recipe in target.variants}
    network = captured.network
    chains = {name: network.chain(captured.gates[name]) for name in (wholes if Layout.WHOLE in layouts else ())}
    wanted = {piece.name for chain in chains.values() for piece in chain}
    files = {
        piece.name: _converted(piece) for piece in network.pieces if Layout.SEGMENTS in layouts or piece.name in wanted
    }
    segments = files if Layout.SEGMENTS in layouts else {}
    whole_files = {name: join([files[piece.name] for piece in chain], name=name) for name, chain in chains.items()}
    compiled: list[Compiled] = []
    for recipe in target.variants:
        if recipe.precision is not Precision.FLOAT32:
            continue
        if recipe.layout is Layout.GATED:
            compiled.append(_gated(captured, recipe, budgeted))
        elif recipe.layout is Layout.WHOLE:
            compiled.append(whole(recipe, whole_files))
        else:
            compiled.append(chained(captured, recipe, segments))
    bases = list(compiled)
    shipped = {variant.recipe.layout for variant in compiled}
    if segments and Layout.SEGMENTS not in shipped:
        bases.append(chained(captured, FLOAT_SEGMENTS, segments))
    if whole_files and Layout.WHOLE not in shipped:
        bases.append(whole(FLOAT_WHOLE, whole_files))
    policy = _policy(captured.request.policy, captured.network.slots) if captured.request.policy else None
    text = ", ".join(f"{variant.recipe.id}: {plural(len(variant.artefacts), 'graph')}" for variant in bases)
    if policy is not None:
        text += f"; policy in {' and '.join(sorted(policy.graphs))}"
    return Floats(
        segments=segments, wholes=whole_files, compiled=tuple(compiled), bases=tuple(bases), policy=policy
    ), ok(text)


def _converted(piece: Piece) -> bytes:
    try:
        return tflite.convert(piece.module, piece.example, name=piece.name)
    except IncompatibleError as exc:
        raise _blamed(exc, [piece]) from exc


def _blamed(error: IncompatibleError, pieces: Sequence[Piece]) -> IncompatibleError:
    for piece in pieces:
        blueprint = f" ({piece.blueprint})" if piece.blueprint else ""
        better = explained(error, piece.module, piece.example, part=f"part '{piece.name}'{blueprint}")
        if better is not error:
            return better
    return error


def chained(captured: Captured, recipe: VariantRecipe, files: Mapping[str, bytes]) -> Compiled:
    """A variant of one graph a piece."""
    artefacts = {name: Artefact.of_tflite(data, file=graph_file(recipe, name)) for name, data in files.items()}
    chains = {
        item.id: tuple(piece.name for piece in captured.network.chain(item.gates)) for item in captured.configurations
    }
    return Compiled.of_chains(recipe, artefacts, chains)


def whole(recipe: VariantRecipe, files: Mapping[str, bytes]) -> Compiled:
    """A variant of one graph a configuration."""
    artefacts = {name: Artefact.of_tflite(data, file=graph_file(recipe, name)) for name, data in files.items()}
    return Compiled.of_chains(recipe, artefacts, {name: (name,) for name in files})


def _gated(captured: Captured, recipe: VariantRecipe, budgeted: Budgeted) -> Compiled:
    """One ONNX graph; a configuration costs the operators of its pieces and one more a switch, the ``If``."""
    network, request = captured.network, captured.request
    try:
        data = onnx.convert_gated([_stage(stage) for stage in network.stages], network.pieces[0].example)
    except IncompatibleError as exc:
        raise _blamed(exc, network.parts) from exc
    graph = onnx.graph(
        graph_file(recipe, GATED),
        shape=network.pieces[0].example.shape[1:],
        outputs=len(request.classes),
        gates=len(network.seeded),
    )
    ops = budgeted.traced[recipe.precision]
    work = {}
    for item in captured.configurations:
        active = network.chain(item.gates)
        gates = [
            _gate(stage.on.shape, copies=stage.off is None and stage.on not in active)
            for stage in network.stages
            if stage.slots
        ]
        work[item.id] = ((*(op for piece in active for op in ops[piece.name]), *gates),)
    artefact = Artefact(graph=graph, data=data, ops=())
    chains = {item.id: (GATED,) for item in captured.configurations}
    return Compiled(recipe=recipe, artefacts={GATED: artefact}, chains=chains, work=work)


def _stage(stage: Stage) -> nn.Module | onnx.Switch:
    if not stage.slots:
        return stage.on.module
    return onnx.Switch(on=stage.on.module, off=None if stage.off is None else stage.off.module, seeds=len(stage.slots))


def _gate(shape: tuple[int, ...], *, copies: bool) -> Op:
    """An ``If``: one operator's overhead, and a copy of the tensor when a seed is off and nothing runs instead."""
    size_bytes = 4 * int(np.prod(shape)) if copies else 0
    return Op(OpKind.DATA_MOVEMENT, macs=0, weight_bytes=0, input_bytes=size_bytes, output_bytes=size_bytes)


def _policy(policy: PolicyModule, slots: int) -> Policies:
    """The policy in both formats, compared with torch on its samples."""
    import torch

    module, samples = policy.module.eval(), np.ascontiguousarray(policy.samples, np.float32)
    size_in, size_out = observation_size(slots), Heads(slots, len(policy.blueprints)).size
    with torch.no_grad():
        outputs = np.stack([module(torch.from_numpy(row[np.newaxis])).numpy().ravel() for row in samples])
    if samples.shape[1] != size_in or outputs.shape[1] != size_out:
        raise IncompatibleError(
            f"the policy maps {samples.shape[1]} features to {outputs.shape[1]} values; {slots} slots and "
            f"{len(policy.blueprints)} blueprints make {size_in} and {size_out}",
            hint="train the policy for this number of slots and these blueprints",
        )
    example = torch.from_numpy(samples[:1])
    files = {
        Format.TFLITE: tflite.convert(module, example, name="policy"),
        Format.ONNX: onnx.convert(module, example, name="policy"),
    }
    graphs = {
        Format.TFLITE: read_model(files[Format.TFLITE]).graph("policy/policy.tflite"),
        Format.ONNX: onnx.graph("policy/policy.onnx", shape=(size_in,), outputs=size_out),
    }
    differences = {}
    for form, data in files.items():
        with quiet():
            runner = open_graph(data, graphs[form])
        found = np.stack([runner.run([row[np.newaxis]])[0].ravel() for row in samples])
        differences[form] = check_parity(f"the policy in {form.value}", found, outputs)
    return Policies(
        graphs=graphs,
        files={graphs[form].file: data for form, data in files.items()},
        differences=differences,
        outputs=outputs,
    )
