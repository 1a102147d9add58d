"""``tamiyo update``: from an empty folder over a trial to a confirmed bundle, back again, and by signed orders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.update.disk import LocalDisk
from tests import tiny
from tests.updates import FACTORY, OFFICE, STRANGER, patient_release, release

STATE = "state"


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys, releases 1 to 3 and a device that trusts the factory's bundles and the office's orders."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    monkeypatch.chdir(tmp_path)
    for name, key in (("factory", FACTORY), ("office", OFFICE), ("stranger", STRANGER)):
        Path(f"{name}.pub").write_bytes(key.public.to_pem())
        pem = Ed25519PrivateKey.from_private_bytes(key.raw).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        Path(f"{name}.key").write_bytes(pem)
        Path(f"{name}.key").chmod(0o600)
    for version in (1, 2, 3):
        release(tmp_path, version)
    update(
        "init", STATE, "--device", "pump-7", "--fleet", "pumps", "--key", "office.pub", "--bundle-key", "factory.pub"
    )
    return tmp_path


def update(*arguments: str, code: int = 0) -> None:
    assert main(["update", *arguments]) == code


def status(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    update("status", STATE, "--json")
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def sign(name: str, counter: int, what: object, *options: str, key: str = "office.key") -> str:
    update("sign", name, "--key", key, "--counter", str(counter), "--order", json.dumps(what), *options)
    return name


@pytest.mark.parametrize("names", [("pump.7", "pumps"), ("pump-7", "pumps/all"), ("#", "pumps")])
def test_a_device_that_no_topic_could_name_is_refused_before_it_has_a_folder(names: tuple[str, str]) -> None:
    update("init", "another", "--device", names[0], "--fleet", names[1], "--key", "office.pub", code=2)
    assert not Path("another").exists()


def test_from_the_first_bundle_over_a_trial_to_a_confirmed_one(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    assert status(capsys)["running"] == "a"
    update("apply", STATE, "tiny-2.tamiyo")
    data = status(capsys)
    assert (data["running"], data["slots"]["b"]["state"]) == ("b", "trial")
    update("start", STATE)
    assert capsys.readouterr().out == f"{Path('state/b/bundle.tamiyo').resolve()}\n"
    update("confirm", STATE)
    assert status(capsys)["slots"]["b"]["state"] == "confirmed"
    update("status", STATE)
    shown = capsys.readouterr().out
    assert "pump-7 in pumps" in shown
    assert "run it           tamiyo run state\n" in shown
    assert "or the file      tamiyo run state/b/bundle.tamiyo --allow-downgrade" in shown


def test_the_figures_of_a_real_run_decide_about_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    update("apply", STATE, "tiny-2.tamiyo")
    capsys.readouterr()
    run = ["run", "state/b/bundle.tamiyo", "--allow-downgrade", "--key", "factory.pub", "--broker", "none", "--json"]
    assert main([*run, "--samples", "40", "--period-ms", "1"]) == 0
    Path("run.json").write_text(capsys.readouterr().out)
    # The tiny network has no policy, and its estimates are made up: any latency will do.
    update("confirm", STATE, "--figures", "run.json", "--max-latency-ratio", "1e9", "--max-misses", "1")
    assert status(capsys)["slots"]["b"]["state"] == "trial"  # 40 samples are not 1000
    good = ("--window", "40", "--max-latency-ratio", "1e9", "--max-misses", "1", "--max-skips", "1")
    update("confirm", STATE, "--figures", "run.json", *good)
    assert status(capsys)["slots"]["b"]["state"] == "confirmed"


def test_bad_figures_take_a_bundle_back_with_exit_3_and_it_is_not_applied_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    update("apply", STATE, "tiny-2.tamiyo")
    figures = {"bundle": "tiny", "variant": "float", "samples": 50, "inferences": 50, "deadline_misses": 40}
    figures |= {
        "policy_failures": 0,
        "failures": 0,
        "skipped": 0,
        "mode": "normal",
        "latency_p99_ms": 9.0,
        "counts": {},
    }
    Path("run.json").write_text(json.dumps(figures))
    update("confirm", STATE, "--figures", "run.json", code=3)
    printed = capsys.readouterr()
    assert "BROKEN" in printed.out
    assert "error: the trial failed (deadline misses: 0.8, allowed 0.01); slot a runs again" in printed.err
    data = status(capsys)
    assert (data["running"], data["slots"]["b"]["state"]) == ("a", "rejected")
    update("apply", STATE, "tiny-2.tamiyo", code=2)
    update("apply", STATE, "tiny-2.tamiyo", "--again")
    update("rollback", STATE)
    assert status(capsys)["running"] == "a"


def test_orders_change_how_and_what_a_device_runs(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    limits = {"budget": {"latency_ms": 5, "power_mw": 20, "energy_burst_uj": 4000}}
    update("obey", STATE, sign("1.json", 1, limits, "--device", "pump-7"))
    update("obey", STATE, sign("2.json", 2, {"policy": False}, "--fleet", "pumps"))
    options = status(capsys)["run_options"]
    assert options == [
        *("--allow-downgrade", "--latency-ms", "5", "--power-mw", "20", "--energy-burst-mj", "4"),
        "--no-policy",
    ]
    assert main(["run", "state/a/bundle.tamiyo", "--key", "factory.pub", "--dry-run", *options]) == 0
    offer = sign("3.json", 3, {"bundle": "tiny-2.tamiyo", "stage_percent": 0}, "--fleet", "pumps")
    update("obey", STATE, offer, "--bundle", "tiny-2.tamiyo")
    assert status(capsys)["running"] == "a"
    update("obey", STATE, sign("4.json", 4, {"stage_percent": 100}, "--fleet", "pumps"), "--bundle", "tiny-2.tamiyo")
    assert status(capsys)["running"] == "b"
    update("status", STATE)
    assert "to 100 % of the fleet: this device takes it" in capsys.readouterr().out
    update("rollback", STATE)
    bundle = {"bundle": "tiny-2.tamiyo"}
    update("obey", STATE, sign("5.json", 5, bundle, "--fleet", "pumps"), "--bundle", "tiny-2.tamiyo", code=2)
    again = sign("6.json", 6, {**bundle, "again": True}, "--fleet", "pumps")
    update("obey", STATE, again, "--bundle", "tiny-2.tamiyo")
    assert status(capsys)["running"] == "b"


def test_an_order_is_obeyed_once_and_a_strangers_never(capsys: pytest.CaptureFixture[str]) -> None:
    order = sign("1.json", 1, {"policy": False}, "--device", "pump-7")
    update("obey", STATE, order)
    update("obey", STATE, order, code=6)
    assert "refused (counter): counter 1; 1 of this signer was obeyed before" in capsys.readouterr().err
    update("obey", STATE, sign("2.json", 2, {"policy": True}, "--device", "pump-7", key="stranger.key"), code=6)
    assert "refused (signature)" in capsys.readouterr().err
    assert status(capsys)["policy"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["apply", "nowhere", "tiny-1.tamiyo"], 2, "no such folder: nowhere"),
        (["apply", STATE, "nothing.tamiyo"], 2, "cannot read bundle nothing.tamiyo"),
        (["apply", STATE, "."], 2, "is a folder, not a bundle"),
        (["apply", STATE, "office.pub"], 6, "is not a bundle"),
        (["start", STATE], 2, "no bundle was applied yet"),
        (["confirm", STATE], 2, "nothing is on trial"),
        (["confirm", STATE, "--figures", "x.json"], 2, "nothing is on trial"),
        (["confirm", STATE, "--window", "0"], 2, "window"),
        (["rollback", STATE], 2, "nothing to go back to"),
        (["status", "."], 2, "no record of updates here"),
        (["obey", STATE, "factory.pub"], 6, "refused (signature)"),
        (["init", STATE, "--device", "x", "--key", "office.pub"], 2, "there is a record of updates already"),
        (["init", "s2", "--device", "../x", "--key", "office.pub"], 2, "device"),
    ],
)
def test_mistakes_end_in_one_line_and_the_right_code(
    arguments: list[str], code: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    update(*arguments, code=code)
    printed = capsys.readouterr().err
    assert error in printed
    assert "Traceback" not in printed


def test_a_damaged_record_stops_with_exit_6(capsys: pytest.CaptureFixture[str]) -> None:
    record = Path(STATE) / "record"
    record.write_bytes(record.read_bytes().replace(b"pump-7", b"pump-8"))
    update("status", STATE, code=6)
    assert "the record of updates is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ({"reboot": True}, "unknown field 'reboot'"),
        ({}, "one order, not 0"),
        ([1], "not a JSON object"),
        ({"bundle": "nothing.tamiyo"}, "cannot read bundle"),
    ],
)
def test_an_order_that_nobody_would_obey_is_not_signed(
    what: object, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["o.json", "--key", "office.key", "--counter", "1", "--fleet", "pumps", "--order", json.dumps(what)]
    update("sign", *arguments, code=2)
    assert error in capsys.readouterr().err
    assert not Path("o.json").exists()


def test_what_a_bundle_takes_over_a_link_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    update("estimate", "tiny-1.tamiyo", "--link", "lora-eu868", "--json")
    data = json.loads(capsys.readouterr().out)
    size = Path("tiny-1.tamiyo").stat().st_size
    chunks = -(-size // data["chunk_bytes"])
    assert data["chunk_bytes"] <= 192
    assert data["frames"] > chunks
    assert data["payload_bytes"] == size + 53 + 8 * chunks + 8 * data["frames"]
    assert data["seconds"] > 3000  # 17 kB at a duty cycle of 1 %
    update("estimate", "tiny-1.tamiyo", "--link", "ethernet")
    assert "time             0 h" in capsys.readouterr().out
    update("estimate", "tiny-1.tamiyo", "--link", "lora-eu86", code=2)


def run(*arguments: str, code: int = 0) -> None:
    assert main(["run", STATE, "--samples", "12", "--period-ms", "0", *arguments]) == code


def test_the_folder_is_run_with_what_was_ordered(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    budget = sign("o.json", 1, {"budget": {"latency_ms": 9000}}, "--fleet", "pumps")
    update("obey", STATE, budget)
    capsys.readouterr()
    run("--dry-run", "--json")
    plan = json.loads(capsys.readouterr().out)
    assert plan["budget"]["latency_ms"] == 9000
    assert plan["state_dir"] == STATE
    run("--json")
    assert json.loads(capsys.readouterr().out)["samples"] == 12


def test_each_start_of_a_trial_is_counted_and_too_many_of_them_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    update("apply", STATE, "tiny-2.tamiyo")
    run("--dry-run")
    assert status(capsys)["starts"] == 0
    for starts in (1, 2, 3):
        run()
        assert status(capsys)["starts"] == starts
    run()
    data = status(capsys)
    assert (data["running"], data["slots"]["b"]["state"]) == ("a", "rejected")


def test_a_second_run_beside_the_first_is_refused_and_is_no_start_of_the_trial(
    capsys: pytest.CaptureFixture[str],
) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    with LocalDisk(Path(STATE)).occupied():
        update("apply", STATE, "tiny-2.tamiyo")
        run(code=2)
        assert "another process runs what is in state" in capsys.readouterr().err
        run("--dry-run")
        assert status(capsys)["starts"] == 0
        update("confirm", STATE)
    run()


def test_a_bundle_on_trial_that_cannot_even_start_makes_way_for_the_one_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = tiny.make(variants=("float",), policy=False, budget=Budget(latency_ms=0.001))
    write_bundle(Path("hasty.tamiyo"), replace(made.manifest, version=2), made.files, FACTORY, overwrite=True)
    update("apply", STATE, "tiny-1.tamiyo")
    update("apply", STATE, "hasty.tamiyo")
    run("--dry-run", code=3)
    assert status(capsys)["running"] == "b"
    run("--json")
    result = json.loads(capsys.readouterr().out)
    assert result["samples"] == 12
    data = status(capsys)
    assert (data["running"], data["slots"]["b"]["state"]) == ("a", "rejected")


def test_a_bundle_on_trial_without_an_engine_for_it_makes_way_for_the_one_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny.make(variants=("onnx",), policy=False)
    write_bundle(Path("onnx.tamiyo"), replace(made.manifest, version=2), made.files, FACTORY, overwrite=True)
    update("apply", STATE, "tiny-1.tamiyo")
    update("apply", STATE, "onnx.tamiyo")
    monkeypatch.setattr("tamiyo_runtime.interpreters.base._installed", lambda module: "onnx" not in module)
    run()
    data = status(capsys)
    assert (data["running"], data["slots"]["b"]["state"]) == ("a", "rejected")


def test_a_variant_that_the_next_bundle_has_not_does_not_keep_it_from_running(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = tiny.make(variants=("int8",), policy=False)
    write_bundle(Path("int8.tamiyo"), replace(made.manifest, version=2), made.files, FACTORY, overwrite=True)
    update("apply", STATE, "tiny-1.tamiyo")
    run("--variant", "float")
    update("apply", STATE, "int8.tamiyo")
    capsys.readouterr()
    run("--variant", "float")
    assert "warning: tiny has no variant 'float'" in capsys.readouterr().err


def test_a_mistake_in_the_command_is_no_fault_of_the_bundle_on_trial(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    update("apply", STATE, "tiny-2.tamiyo")
    run("--source", "missing.csv", code=2)
    assert status(capsys)["slots"]["b"]["state"] == "trial"


def test_a_trial_that_runs_long_enough_is_confirmed_by_the_run_itself(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    update("apply", STATE, str(patient_release(Path(), 2)))
    assert main(["run", STATE, "--samples", "60", "--period-ms", "30", "--trial-window", "10"]) == 0
    assert status(capsys)["slots"]["b"]["state"] == "confirmed"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device-id", "pump-8"),
        ("--fleet", "others"),
        ("--latency-ms", "5"),
        ("--no-policy",),
        ("--key", "factory.pub"),
        ("--state-dir", "elsewhere"),
        ("--budget-at", "5:latency-ms=7"),
    ],
)
def test_what_the_folder_says_is_not_said_again(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    run(*arguments, code=2)
    assert f"error: {arguments[0]} cannot be given with a state folder" in capsys.readouterr().err


def test_a_folder_without_a_bundle_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    run(code=2)
    assert "tamiyo update apply" in capsys.readouterr().err


def test_a_bundle_whose_key_was_revoked_goes_on_running(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    add = {"public": STRANGER.public.raw.hex(), "roles": ["bundle"]}
    change = sign("o.json", 1, {"keys": {"add": [add], "revoke": [FACTORY.public.id]}}, "--fleet", "pumps")
    update("obey", STATE, change)
    run()
    update("apply", STATE, "tiny-2.tamiyo", code=6)
    run()


def test_a_service_of_the_folder_may_write_to_it_and_is_told_to_look_again(capsys: pytest.CaptureFixture[str]) -> None:
    update("apply", STATE, "tiny-1.tamiyo")
    capsys.readouterr()
    assert main(["service", "print", "--user", "pump", STATE, "--broker", "mqtt://hub:1883"]) == 0
    unit = capsys.readouterr().out
    folder = Path(STATE).resolve()
    assert f" run {folder} --broker mqtt://hub:1883\n" in unit
    assert f"ReadWritePaths={folder}\n" in unit
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in unit


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "nothing to order"),
        (["--bundle", "tiny-2.tamiyo"], "an order has to be signed"),
        (["--bundle", "tiny-2.tamiyo", "--key", "office.key", "--stages", "10,5"], "rising shares"),
        (["--bundle", "tiny-2.tamiyo", "--key", "office.key", "--stages", "0,5"], "rising shares"),
        (["--bundle", "tiny-2.tamiyo", "--key", "office.key", "--stages", "a"], "rising shares"),
        (["--order", '{"policy": false}', "--key", "office.key", "--stages", "1,100"], "--stages are for a bundle"),
        (["--order", '{"bundle": "tiny-1.tamiyo"}', "--bundle", "tiny-2.tamiyo", "--key", "office.key"], "two files"),
        (["--order", "[]", "--key", "office.key"], "not a JSON object"),
        (["--order", "{", "--key", "office.key"], "--order"),
        (["--order", '{"policy": false}', "--key", "office.key", "--again"], "--again is for a bundle"),
        (["o.json", "--again"], "sent as it is"),
        (["o.json", "--order", "{}"], "sent as it is"),
        (["missing.json"], "order not found"),
        (["--bundle", "tiny-2.tamiyo", "--key", "missing.key"], "missing.key"),
        (["--bundle", "tiny-2.tamiyo", "--key", "office.key", "--max-kb-per-s", "inf"], "--max-kb-per-s: inf is not"),
    ],
)
def test_a_push_that_cannot_be_meant_ends_before_a_broker_is_asked(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    update("push", "--broker", "mqtt://127.0.0.1:9", *arguments, code=2)
    assert error in capsys.readouterr().err


def test_an_order_that_is_signed_without_a_counter_gets_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    for name, what in (("one.json", {"policy": False}), ("two.json", {"policy": True})):
        update("sign", name, "--key", "office.key", "--fleet", "pumps", "--order", json.dumps(what))
        update("obey", STATE, name)
    assert status(capsys)["policy"]
