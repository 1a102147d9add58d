"""Which cover of a network is compiled, and that every cover computes what the network does."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from exporters.backends import tflite
from exporters.backends.flatbuffer import INPUT, OUTPUT, read_model
from exporters.backends.toolchain import tool
from exporters.grouping import grouped
from exporters.layouts import Facts, choose, grouping
from exporters.network import Network, capture, scaled
from exporters.pipeline import export
from exporters.request import ExportRequest, SeedModule
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.plan import Layout, Precision
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.options import Option, Options, is_subset
from tamiyo_runtime.signing import Trust
from tests.unit.exporters.conftest import KEY, Exported
from tests.unit.exporters.tiny import CHANNELS, Adapter, tiny_request


def facts(**changes: object) -> Facts:
    """Three seeds of 10 us in a network of 100 us, boundaries of 2 us."""
    names = [f"c{bits:03b}" for bits in range(8)]
    known = {
        "asked": "auto",
        "full_ms": 0.1,
        "boundary_ms": 0.002,
        "boundaries": 6,
        "seeds_ms": {0: 0.01, 1: 0.01, 2: 0.01},
        "whole_ms": {name: 0.07 + 0.01 * name.count("1") for name in names},
        "accuracy": {name: 0.9 + 0.01 * name.count("1") for name in names},
        "host": "c000",
        "full": "c111",
        "most_wholes": 8,
        "memory_bytes": dict.fromkeys(names, 1000),
        "memory_limit_bytes": 1 << 20,
        "file_bytes": dict.fromkeys(names, 5000),
        "file_limit_bytes": 32 << 20,
    }
    return Facts(**(known | changes))  # type: ignore[arg-type]


def test_dear_boundaries_make_whole_configurations_and_the_reason_says_what_they_would_cost() -> None:
    choice = choose(facts())
    assert choice.layout is Layout.WHOLE
    assert len(choice.wholes) == 8
    assert choice.reason == "whole: 6 boundaries would add 12 us to 100 us"


def test_cheap_boundaries_leave_one_graph_a_piece() -> None:
    choice = choose(facts(full_ms=10.0, seeds_ms={0: 1.0, 1: 1.0, 2: 1.0}))
    assert (choice.layout, choice.wholes, choice.groups) == (Layout.SEGMENTS, (), ((0,), (1,), (2,)))
    assert choice.reason == "segments: 6 boundaries would add 12 us to 10 ms, 0.1 %"


def test_of_too_many_configurations_the_best_between_host_and_full_are_compiled() -> None:
    choice = choose(facts(most_wholes=4))
    assert {"c000", "c111"} <= set(choice.wholes)
    assert len(choice.wholes) == 4
    assert choice.reason.endswith("; 4 of 8 configurations")


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"memory_limit_bytes": 4096}, "8 whole graphs would take 7.81 KiB of 4 KiB of memory"),
        ({"file_limit_bytes": 20480}, "8 whole graphs would make files of 39.1 KiB, at most 20 KiB"),
    ],
)
def test_whole_graphs_that_do_not_fit_are_not_made(limit: dict[str, int], said: str) -> None:
    choice = choose(facts(**limit))
    assert (choice.layout, choice.groups) == (Layout.SEGMENTS, ((0,), (1,), (2,)))
    assert said in choice.reason


def test_seeds_that_save_less_than_their_boundaries_cost_switch_together() -> None:
    choice = choose(facts(memory_limit_bytes=1, seeds_ms={0: 0.001, 1: 0.002, 4: 0.03}))
    assert choice.groups == ((0, 1, 4),)  # 3 us together are still less than two boundaries
    choice = choose(facts(memory_limit_bytes=1, seeds_ms={0: 0.003, 1: 0.002, 4: 0.03}))
    assert choice.groups == ((0, 1), (4,))
    assert choice.reason.endswith("too small to switch alone, so together: slot 0 + slot 1")


@pytest.mark.parametrize(("asked", "layout"), [("segments", Layout.SEGMENTS), ("whole", Layout.WHOLE)])
def test_the_profile_has_the_last_word(asked: str, layout: Layout) -> None:
    for full_ms in (0.01, 10.0):
        assert choose(facts(asked=asked, full_ms=full_ms, seeds_ms={0: 1e-6, 1: 1e-6})).layout is layout


@given(st.dictionaries(st.integers(0, 9), st.floats(0, 10), max_size=6), st.floats(0, 20))
def test_groups_hold_every_seed_once_and_are_worth_switching_unless_there_is_one(
    seeds_ms: dict[int, float], least_ms: float
) -> None:
    groups = grouping(seeds_ms, least_ms)
    assert [slot for group in groups for slot in group] == sorted(seeds_ms)
    if len(groups) > 1:
        assert all(sum(seeds_ms[slot] for slot in group) >= least_ms for group in groups)


# Networks of up to four seeds in random slots; the trunk changes the shape in the middle.

PLACES = st.lists(st.integers(0, 3), unique=True, max_size=4).map(sorted)


def network_of(slots: list[int]) -> tuple[ExportRequest, Network]:
    torch.manual_seed(3)
    trunk: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU()),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS),
        nn.Sequential(nn.Conv2d(CHANNELS, 6, 3, stride=2, padding=1), nn.ReLU()),
        nn.Conv2d(6, 6, 1),
        nn.Sequential(nn.Flatten(), nn.Linear(54, 4)),
    ]
    seeds = [SeedModule(slot=s, blueprint="adapter", module=Adapter(CHANNELS if s < 2 else 6, 3)) for s in slots]
    request = replace(tiny_request(steps=0, policy=False), trunk=[m.eval() for m in trunk], seeds=seeds)
    return request, capture(request)


def cut(slots: list[int], marks: list[bool]) -> tuple[tuple[int, ...], ...]:
    """The slots in runs; a mark joins a slot with the one before."""
    groups: list[tuple[int, ...]] = []
    for slot, joined in zip(slots, marks, strict=False):
        groups[-1:] = [(*groups[-1], slot)] if joined and groups else [*groups[-1:], (slot,)]
    return tuple(groups)


@settings(max_examples=25, deadline=None)
@given(PLACES, st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_grouped_network_computes_every_pattern_of_its_groups(slots: list[int], marks: list[bool]) -> None:
    request, plain = network_of(slots)
    groups = cut(slots, marks)
    network = grouped(plain, groups)
    assert (network.groups, network.seeded, network.parts) == (groups, plain.seeded, plain.parts)
    known = {item.id for item in plain.configurations}
    assert len(network.configurations) == 2 ** len(groups)
    assert (network.host, network.full) == (plain.host, plain.full)
    real = scaled(request, request.test_inputs[:3])
    for item in network.configurations:
        assert item.id in known
        assert all(len({item.gates[slot] for slot in group}) == 1 for group in groups)
        np.testing.assert_allclose(
            network.logits(real, item.gates), plain.logits(real, item.gates), rtol=1e-5, atol=1e-6
        )
        assert len(network.chain(item.gates)) <= len(plain.chain(item.gates))


@settings(max_examples=25, deadline=None)
@given(PLACES, st.lists(st.booleans(), min_size=4, max_size=4))
def test_graphs_that_can_follow_each_other_meet_in_one_joint(slots: list[int], marks: list[bool]) -> None:
    _, plain = network_of(slots)
    network = grouped(plain, cut(slots, marks))
    at = {end: joint.slot for joint in network.joints for end in joint.ends}
    assert len(at) == sum(len(joint.ends) for joint in network.joints)  # no tensor in two
    for item in network.configurations:
        chain = network.chain(item.gates)
        for before, after in itertools.pairwise(chain):
            assert at[before.name, OUTPUT] == at[after.name, INPUT]


@settings(max_examples=25, deadline=None)
@given(PLACES, st.lists(st.booleans(), min_size=4, max_size=4))
def test_what_enters_a_piece_under_random_gates_is_what_some_pattern_brings_there(
    slots: list[int], marks: list[bool]
) -> None:
    request, plain = network_of(slots)
    network = grouped(plain, cut(slots, marks))
    real = scaled(request, request.calibration[:4])
    entering = network.traffic(real, seed=0)
    assert set(entering) == {piece.name for piece in network.pieces}
    head = entering["head"]
    brought = []
    for item in network.configurations:
        with torch.no_grad():
            value = torch.from_numpy(real)
            for piece in network.chain(item.gates)[:-1]:
                value = piece.module(value)
        brought.append(value.numpy())
    for row in range(len(real)):
        assert any(np.allclose(head[row], values[row], atol=1e-5) for values in brought)


def test_groups_that_leave_a_seed_out_are_refused() -> None:
    _, network = network_of([0, 2, 3])
    with pytest.raises(SchemaError, match="hold slots"):
        grouped(network, ((0, 2),))


def test_a_proposal_that_no_configuration_has_becomes_the_best_one_within_it() -> None:
    """The policy names seeds; where they are tied together, or a pattern was not compiled, the governor's options."""
    available = [(False,) * 3, (True, True, False), (False, False, True), (True, True, True)]  # slots 0 and 1 are tied
    options = Options(
        [
            Option(
                configuration="c" + "".join("01"[gate] for gate in gates),
                gates=gates,
                latency_worst_ms=1.0 + index,
                energy_worst_uj=1.0 + index,
                memory_bytes=100,
                accuracy=0.5 + 0.1 * index,
            )
            for index, gates in enumerate(available)
        ]
    )
    for bits in range(8):
        wanted = (bool(bits & 4), bool(bits & 2), bool(bits & 1))
        option, exact = options.find(wanted)
        assert exact is (wanted in available)
        assert is_subset(options.items[option].gates, wanted)
        within = [item for item in options.items if is_subset(item.gates, wanted)]
        assert options.items[option] == max(within, key=lambda item: item.accuracy or 0.0)


@pytest.fixture(scope="module")
def together(request_: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Both seeds in one group: whole graphs are too many for the memory, and each seed is small beside a boundary."""
    request = replace(request_, budget=Budget(memory_bytes=4096))
    path = tmp_path_factory.mktemp("together") / "together.tamiyo"
    report = export(request, "raspberry-pi-4", path, key=KEY)
    return Exported(path, report, Bundle.open(path, trusted=Trust.of(KEY.public)), [])


@pytest.mark.toolchain
def test_a_group_ships_as_two_alternatives_between_equal_seams(together: Exported) -> None:
    manifest = together.bundle.manifest
    assert together.report.groups == ((0, 2),)
    assert [item.id for item in manifest.configurations] == ["c000", "c101"]
    assert "together: slot 0 + slot 2" in together.report.steps[1].message
    assert [segment.name for segment in manifest.plan.segments] == ["trunk0", "seed0", "trunk1", "seed2", "head"]
    assert [seam.slot for seam in manifest.plan.seams] == [0, 2]
    int8 = manifest.variants[0]
    chains = {item.configuration: item.chain for item in int8.runnables}
    assert chains == {"c000": ("trunk0", "group0-2-off", "head"), "c101": ("trunk0", "group0-2", "head")}
    for before, after in (("trunk0", "group0-2"), ("trunk0", "group0-2-off"), ("group0-2", "head")):
        assert int8.graphs[before].outputs[0].quantisation == int8.graphs[after].inputs[0].quantisation
    assert int8.graphs["group0-2"].outputs[0].quantisation == int8.graphs["group0-2-off"].outputs[0].quantisation


@pytest.mark.toolchain
def test_every_variant_of_a_grouped_network_computes_what_torch_does(
    together: Exported, request_: ExportRequest
) -> None:
    network = capture(request_)
    samples = request_.test_inputs[:16]
    for variant in together.bundle.manifest.variants:
        executor = Executor(together.bundle, variant.id)
        for item in together.bundle.manifest.configurations:
            wanted = network.logits(scaled(request_, samples), item.gates)
            found = np.stack([executor.run(sample, item.id) for sample in samples])
            noise = float(np.square(found - wanted).sum() / np.square(wanted).sum())
            assert noise < (1e-3 if variant.precision is Precision.INT8 else 1e-10), variant.id


@pytest.mark.toolchain
def test_a_whole_graph_has_the_operators_of_a_plain_export(request_: ExportRequest, tmp_path: Path) -> None:
    """Nothing is left of the seams: a configuration of its own graph costs what the network costs without tamiyo."""
    network = capture(request_)
    plain = nn.Sequential(
        request_.trunk[0], request_.seeds[0].module, *request_.trunk[1:3], request_.seeds[1].module, request_.trunk[3]
    ).eval()
    example = network.pieces[0].example
    ours = read_model(tflite.convert(network.whole(network.full.gates), example, name="ours")).operators
    litert_torch = tool("litert_torch")
    ready = litert_torch.to_channel_last_io(plain, args=[0])
    path = tmp_path / "plain.tflite"
    litert_torch.convert(ready, (tflite.channels_last(example),)).export(str(path))
    theirs = [item.code for item in read_model(path.read_bytes()).operators]
    same = {"MEAN": "AVERAGE_POOL_2D"}  # the same values, as Edge TPUs take them
    assert [item.code for item in ours] == [same.get(code, code) for code in theirs]


@pytest.mark.toolchain
def test_the_report_marks_the_front_and_what_the_budget_picks(pi: Exported) -> None:
    assert pi.report.configurations[0].id == "c000"
    assert all(item.compiled for item in pi.report.configurations)
    for variant in pi.report.variants:
        marked = [item for item in variant.runnables if item.on_front]
        best = max(item.accuracy for item in variant.runnables)
        assert marked[-1].accuracy == best
        accuracies = [item.accuracy for item in marked]
        assert accuracies == sorted(set(accuracies))
        (chosen,) = [item for item in variant.runnables if item.chosen]
        assert chosen.accuracy == best  # the profile's budget leaves room for all of it


@pytest.mark.toolchain
def test_a_policy_that_proposes_seeds_one_by_one_runs_the_groups(
    together: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAMIYO_HOME", str(tmp_path))
    Trust.add(KEY.public, "test")
    throttled = ("--device", "simulated:raspberry-pi-4", "--throttle", "1:4,3:1", "--samples", "60")
    assert main(["run", str(together.path), *throttled, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert set(summary["counts"]) <= {"c000", "c101"}
    assert sum(summary["counts"].values()) == 60
    assert summary["policy_failures"] == 0
