"""A growth episode on paper: everything that changes while it runs, and a fresh one brought to the same point.

    {schema, env, trainer, gardener, steward, optimiser, inner, slots, audit}  and, beside it, tensors: weights,
                                                   buffers, moments, gradients, generators, evidence, the last reading

What each object holds is listed below: ``kept`` attributes travel, ``made`` ones are made by building the episode anew
from its configuration. An attribute in neither list raises, so that a field somebody adds is never lost in silence.
State is taken between windows, and only while the governor has nothing to suspect: the state is then itself the one
that a panic goes back to, so that no other snapshot has to travel.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tamiyo_runtime.contracts.document import check_schema
from tamiyo_runtime.contracts.errors import SchemaError, TamiyoError
from tamiyo_train import telemetry
from tamiyo_train.audit import Entry
from tamiyo_train.blueprints import blueprints
from tamiyo_train.channel_gate import ChannelGate
from tamiyo_train.codec import Tensors, decode, encode
from tamiyo_train.env import GrowthEnv, WindowReport
from tamiyo_train.governor import Watch
from tamiyo_train.lifecycle import State
from tamiyo_train.pricing import GrowthBudget
from tamiyo_train.seed import GrownNetwork, Inner, Seed
from tamiyo_train.seeding import initialising
from tamiyo_train.snapshot import GLOBAL

SCHEMA = "tamiyo.growth/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    """Attributes of one class: ``kept`` with their types, and those ``made`` anew or kept in a way of their own."""

    kept: Mapping[str, Any]
    made: frozenset[str]

    def check(self, thing: object) -> None:
        unknown = vars(thing).keys() - self.kept.keys() - self.made
        if unknown:
            raise TamiyoError(
                f"{type(thing).__name__}.{min(unknown)} is neither kept nor made anew when growth resumes",
                hint="list it in tamiyo_train/resume.py",
            )


_ENV = _Fields(
    kept={
        "safety_events": int,
        "_windows": list[WindowReport],
        "_watch": Watch,
        "_curve": telemetry.Curve,
        "_barren_panics": int,
        "_reading": telemetry.Reading,
    },
    made=frozenset(
        {"config", "pricer", "budget", "audit", "network", "trainer", "gardener", "heads", "_snapshot", "_sound"}
        | {"on_restored", "steward"}
    ),
)
_STEWARD = _Fields(
    kept={"accounts": tuple[GrowthBudget, ...]},
    made=frozenset({"network", "pricer", "budget", "allocator", "regions"}),
)
_TRAINER = _Fields(
    kept={"step_index": int, "training_macs": int, "caution": float},
    made=frozenset({"network", "data", "config", "generators", "optimiser", "on_step", "_meter"}),
)
_GARDENER = _Fields(
    kept={"culled": int, "_embargo": dict[int, int]},
    made=frozenset({"trainer", "network", "config", "blueprints", "pricer", "budget", "steward", "_seed"}),
)
_LIFE = _Fields(kept={"_state": State, "path": str}, made=frozenset({"slot", "_audit"}))
_NETWORK = _Fields(
    kept={"inner": list[Inner | None]},
    made=frozenset({*vars(torch.nn.Module()), "host", "lock", "seeds", "lives"}),  # tensors travel by name
)
_SEED = {name: hint for name, hint in typing.get_type_hints(Seed).items() if name not in {"blueprint", "module"}}


def state_of(env: GrowthEnv) -> tuple[dict[str, Any], Tensors]:
    """Document and tensors of an episode between two windows; raises TamiyoError on an unknown field."""
    tensors: Tensors = {}
    _NETWORK.check(env.network)
    document = {
        "schema": SCHEMA,
        "env": _kept(_ENV, env, tensors, "env"),
        "trainer": _kept(_TRAINER, env.trainer, tensors, "trainer"),
        "gardener": _kept(_GARDENER, env.gardener, tensors, "gardener"),
        "steward": _kept(_STEWARD, env.steward, tensors, "steward"),
        "inner": encode(env.network.inner, tensors, path="inner"),
        "slots": [_slot(env.network, slot, tensors) for slot in range(env.network.slots)],
        "optimiser": _optimiser(env, tensors),
        "audit": encode(env.audit.entries, tensors, path="audit"),
    }
    for name, tensor in env.network.state_dict().items():
        tensors[f"network/{name}"] = tensor.detach().clone()
    for name, made in _generators(env).items():
        tensors[f"generator/{name}"] = made.get_state().clone()
    return document, tensors


def restore(env: GrowthEnv, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Bring an episode to where `state_of` found one of the same configuration, bit by bit.

    ``env`` is freshly built, or was restored to an earlier point. Raises SchemaError when the state is of another
    version or does not fit the network.
    """
    check_schema(document["schema"], SCHEMA)
    if document["schema"] != SCHEMA:
        raise SchemaError("schema", f"expected {SCHEMA}, got '{document['schema']}', which lacks accounts of regions")
    _plant(env.network, document, tensors)
    _load_network(env.network, tensors)
    _load_optimiser(env, document["optimiser"], tensors)
    generators = _generators(env)
    if {f"generator/{name}" for name in generators} != {name for name in tensors if name.startswith("generator/")}:
        raise SchemaError("generators", "are not those of the trainer")
    for name, made in generators.items():
        made.set_state(tensors[f"generator/{name}"].clone())
    _bring(_TRAINER, env.trainer, document["trainer"], tensors, "trainer")
    _bring(_GARDENER, env.gardener, document["gardener"], tensors, "gardener")
    _bring(_STEWARD, env.steward, document["steward"], tensors, "steward")
    _bring(_ENV, env, document["env"], tensors, "env")
    entries = decode(tuple[Entry, ...], document["audit"], tensors, path="audit")
    env.audit.resume(entries)
    env.network.train()
    env.start_from_here()


def _generators(env: GrowthEnv) -> dict[str, torch.Generator]:
    """The trainer's, and torch's own, which a blueprint of others may draw from."""
    return {**env.trainer.generators, GLOBAL: torch.default_generator}


def _kept(fields: _Fields, thing: object, tensors: Tensors, path: str) -> dict[str, Any]:
    fields.check(thing)
    return {name: encode(getattr(thing, name), tensors, path=f"{path}/{name}") for name in fields.kept}


def _bring(
    fields: _Fields, thing: object, data: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: str
) -> None:
    fields.check(thing)
    if data.keys() != fields.kept.keys():
        raise SchemaError(path, f"holds {sorted(data)}, expected {sorted(fields.kept)}")
    for name, hint in fields.kept.items():
        setattr(thing, name, decode(hint, data[name], tensors, path=f"{path}/{name}"))


def _slot(network: GrownNetwork, slot: int, tensors: Tensors) -> dict[str, Any]:
    seed, life = network.seeds[slot], network.lives[slot]
    _LIFE.check(life)
    kept: dict[str, Any] = {"state": life.state.value, "path": life.path, "seed": None}
    if seed is not None:
        own = {name: encode(getattr(seed, name), tensors, path=f"seed/{slot}/{name}") for name in _SEED}
        kept["seed"] = {"blueprint": seed.blueprint.name, "gated": isinstance(seed.module, ChannelGate), **own}
    return kept


def _plant(network: GrownNetwork, data: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Put newborn seeds where there were seeds, each after the one it lies in."""
    slots, inner = data["slots"], decode(list[Inner | None], data["inner"], {}, path="inner")
    if len(slots) != network.slots or len(inner) != len(network.inner):
        raise SchemaError("slots", f"{len(slots)} were kept, the network has {network.slots}")
    for slot in reversed(network.outermost_first()):
        network.plant(slot, None)
    network.inner[:] = inner
    for slot, kept in enumerate(slots):
        network.lives[slot].rewind(State(kept["state"]), path=kept["path"])
    for slot in network.outermost_first():
        if slots[slot]["seed"] is not None:
            network.plant(slot, _newborn(network, slot, slots[slot]["seed"], tensors))


def _newborn(network: GrownNetwork, slot: int, kept: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Seed:
    if kept.keys() != {*_SEED, "blueprint", "gated"}:
        raise SchemaError(f"slots[{slot}].seed", f"holds {sorted(kept)}")
    blueprint, place = blueprints.get(kept["blueprint"]), network.place(slot)
    if place is None:
        raise SchemaError(f"slots[{slot}]", "holds a seed but is not open")
    with initialising(0):  # its weights are loaded afterwards
        module = blueprint.build(place)
        module = ChannelGate(module, place) if kept["gated"] else module
    values = {name: decode(hint, kept[name], tensors, path=f"seed/{slot}/{name}") for name, hint in _SEED.items()}
    return Seed(blueprint=blueprint, module=module, **values)


def _load_network(network: GrownNetwork, tensors: Mapping[str, torch.Tensor]) -> None:
    weights = {name.removeprefix("network/"): t for name, t in tensors.items() if name.startswith("network/")}
    try:
        network.load_state_dict(weights)
    except RuntimeError as exc:
        raise SchemaError("network", f"its tensors do not fit: {str(exc).splitlines()[-1].strip()}") from exc


def _optimiser(env: GrowthEnv, tensors: Tensors) -> list[dict[str, Any]]:
    """Groups in order with their options and the names of their parameters; moments and gradients go aside."""
    names = {param: name for name, param in env.network.named_parameters()}
    groups = []
    for index, group in enumerate(env.trainer.optimiser.param_groups):
        missing = [param.shape for param in group["params"] if param not in names]
        if missing:
            raise TamiyoError(f"group '{group['name']}' trains a parameter of shape {missing[0]} outside the network")
        options = {key: value for key, value in group.items() if key != "params"}
        groups.append(
            {
                "options": encode(options, tensors, path=f"optimiser/{index}"),
                "params": [names[param] for param in group["params"]],
            }
        )
        for param in group["params"]:
            for key, value in env.trainer.optimiser.state.get(param, {}).items():
                tensors[f"moment/{names[param]}/{key}"] = value.detach().clone()
            if param.grad is not None:  # telemetry reads the last step's
                tensors[f"gradient/{names[param]}"] = param.grad.detach().clone()
    return groups


def _load_optimiser(env: GrowthEnv, groups: list[dict[str, Any]], tensors: Mapping[str, torch.Tensor]) -> None:
    params = dict(env.network.named_parameters())
    moments: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("moment/"):
            param_name, _, key = name.removeprefix("moment/").rpartition("/")
            moments.setdefault(param_name, {})[key] = tensor
    saved = []
    template = env.trainer.optimiser.defaults
    for index, group in enumerate(groups):
        options = {key: _like(template.get(key), value) for key, value in group["options"].items()}
        if not set(group["params"]) <= params.keys():
            raise SchemaError(f"optimiser[{index}]", "trains a parameter that the network does not have")
        chosen = [params[name] for name in group["params"]]
        saved.append({**options, "params": chosen, "moments": [moments.get(name, {}) for name in group["params"]]})
    env.trainer.load_optimiser_state(saved)
    for name, param in params.items():
        gradient = tensors.get(f"gradient/{name}")
        param.grad = None if gradient is None else gradient.clone()


def _like(default: Any, value: Any) -> Any:
    """An option as the optimiser had it: JSON makes lists of tuples."""
    return tuple(value) if isinstance(default, tuple) else value
