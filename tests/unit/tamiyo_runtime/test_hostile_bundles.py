"""Attacks on whoever opens a bundle. Each ends with exit code 6, one line that says why, and nothing run or written."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tamiyo_runtime.archive import pack, unpack
from tamiyo_runtime.bundle import ENVELOPE, MANIFEST, Bundle, write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError
from tamiyo_runtime.signing import Trust
from tests import tiny
from tests.attacker import KEY, ONNX, TFLITE, Attacker, refused


@pytest.fixture
def attacker() -> Attacker:
    return Attacker()


def test_the_attackers_bundle_is_fine_until_it_is_attacked(attacker: Attacker) -> None:
    assert Bundle.parse(attacker.bytes, name="fine", trusted=Trust.of(KEY.public)).manifest.version == 1


# The archive.


@pytest.mark.parametrize("name", ["../../home/user/.bashrc", "/etc/cron.d/evil", "graphs\\..\\evil", "evil\x1b[2J"])
def test_a_name_that_climbs_out_is_absolute_or_draws_on_the_terminal(attacker: Attacker, name: str) -> None:
    stand_in = "z" * len(name.encode())
    attacker.files[stand_in] = b"evil"
    data = attacker.bytes.replace(stand_in.encode(), name.encode())
    members = [n for n in (*attacker.members, name) if n != stand_in]
    if sorted(members).index(name) != len(members) - 1:  # out of order now: sort by hand what pack would refuse
        refused(data, "unsafe|out of order")
    else:
        refused(data, "unsafe member name")


@pytest.mark.parametrize("name", ["../../home/user/.bashrc", "/etc/cron.d/evil"])
def test_a_climbing_name_alone_is_called_unsafe(name: str) -> None:
    data = pack({"n" * len(name): b"evil"}).replace(b"n" * len(name), name.encode())
    with pytest.raises(IntegrityError, match="unsafe member name"):
        unpack(data, source="evil")


def test_a_duplicate_member(attacker: Attacker) -> None:
    attacker.files["samples.npY"] = b"other"
    refused(attacker.bytes.replace(b"samples.npY", b"samples.npz"), "out of order or double")


def test_a_symbolic_link(attacker: Attacker) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        link = zipfile.ZipInfo("graphs", (1980, 1, 1, 0, 0, 0))
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc")
    refused(stream.getvalue(), "header of 'graphs' is damaged")


def test_compressed_members_and_so_every_archive_bomb(attacker: Attacker) -> None:
    attacker.files["zeros"] = bytes(8 << 20)
    refused(attacker.zipped(compression=zipfile.ZIP_DEFLATED), "is not in the form that tamiyo writes")


def test_a_declared_size_of_four_gigabytes(attacker: Attacker) -> None:
    data = bytearray(attacker.bytes)
    struct.pack_into("<LL", data, 18, 0xFFFFFFF0, 0xFFFFFFF0)
    refused(bytes(data), "is truncated within")


def test_a_truncated_one_and_one_with_something_behind_it(attacker: Attacker) -> None:
    data = attacker.bytes
    refused(data[:-1], "is truncated")
    refused(data[: len(data) // 2], "is truncated")
    refused(data + b"#!/bin/sh\n", "damaged directory")


# Hashes and signatures.


def test_a_file_that_is_not_the_one_that_was_signed(attacker: Attacker) -> None:
    attacker.files[TFLITE] = attacker.files[TFLITE] + b"\0"
    refused(attacker.bytes, "'graphs/float/head.tflite' is not the file that was signed")


def test_one_without_a_signature(attacker: Attacker) -> None:
    members = attacker.members
    del members[ENVELOPE]
    refused(pack(members), "is not signed")


def test_one_signed_by_a_stranger() -> None:
    refused(Attacker(stranger=True).bytes, "which is not trusted")


def test_a_strangers_signature_under_a_trusted_name(attacker: Attacker) -> None:
    stranger = Attacker(stranger=True)
    envelope = json.loads(stranger.members[ENVELOPE])
    envelope["signatures"][0]["keyid"] = KEY.public.id
    refused(pack({**stranger.members, ENVELOPE: json.dumps(envelope).encode()}), "does not match")


def test_a_manifest_beside_the_signed_one(attacker: Attacker) -> None:
    members = attacker.members
    refused(pack({**members, MANIFEST: members[MANIFEST].replace(b'"tiny"', b'"evil"')}), "not the one that was signed")


# The manifest, by a signer whose key was stolen.


def test_a_chain_of_graphs_that_are_not_there(attacker: Attacker) -> None:
    attacker.manifest["variants"][0]["runnables"][0]["chain"] = ["trunk0", "nowhere"]
    refused(attacker.bytes, "names no graph 'nowhere'")


def test_a_graph_in_a_file_that_is_not_there(attacker: Attacker) -> None:
    attacker.manifest["variants"][0]["graphs"]["head"]["file"] = "/proc/self/environ"
    refused(attacker.bytes, "is not listed in files")


def test_a_graph_called_something_else_to_escape_the_screening(attacker: Attacker) -> None:
    attacker.replace("graphs/net.bin", attacker.files[ONNX])
    attacker.manifest["variants"][2]["graphs"]["net"]["file"] = "graphs/net.bin"
    refused(attacker.bytes, "is not called .onnx")


@pytest.mark.parametrize("shape", [[1, 1 << 40], [1] * 40, [1, -4, 4, 1], [1 << 20, 1 << 20]])
def test_a_tensor_that_would_fill_the_memory(attacker: Attacker, shape: list[int]) -> None:
    attacker.manifest["variants"][0]["graphs"]["trunk0"]["inputs"][0]["shape"] = shape
    refused(attacker.bytes, "elements|dimensions")


def test_samples_that_would_fill_the_memory(attacker: Attacker) -> None:
    attacker.manifest["input"]["shape"] = [1 << 16, 1 << 16, 1]
    refused(attacker.bytes, "input.shape: .* elements")


@pytest.mark.parametrize("depth", [40, 100_000])
def test_nesting_that_would_exhaust_the_stack(attacker: Attacker, depth: int) -> None:
    attacker.rewrite(lambda raw: raw[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}")
    refused(attacker.bytes, "nested more than 32 deep|not valid JSON")


def test_one_key_twice_so_that_two_readers_see_two_manifests(attacker: Attacker) -> None:
    attacker.rewrite(lambda raw: raw[:-1] + b', "name": "other"}')
    refused(attacker.bytes, "the same key twice")


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "\u202egnp.exe", "\ud800"])
def test_text_that_a_terminal_would_obey(attacker: Attacker, text: str) -> None:
    attacker.manifest["name"] = text
    refused(attacker.bytes, "holds a control character")
    attacker.manifest["name"], attacker.manifest["provenance"] = "tiny", {"made": [{text: 1}]}
    refused(attacker.bytes, "holds a control character")


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity", "1" * 5000])
def test_numbers_that_are_none(attacker: Attacker, number: str) -> None:
    attacker.rewrite(lambda raw: raw[:-1] + b', "x": ' + number.encode() + b"}")
    refused(attacker.bytes, "a number is inf|not allowed|not valid JSON")


@pytest.mark.parametrize("version", [0, -1, 1 << 40, "2", 1.5, True])
def test_a_version_that_is_none(attacker: Attacker, version: object) -> None:
    attacker.manifest["version"] = version
    refused(attacker.bytes, "version")


def test_a_manifest_from_before_versions_still_opens(attacker: Attacker) -> None:
    del attacker.manifest["version"]
    assert Bundle.parse(attacker.bytes, name="old", trusted=Trust.of(KEY.public)).manifest.version == 1


def test_a_manifest_that_would_be_refused_is_not_written(tmp_path: Path) -> None:
    made = tiny.make()
    with pytest.raises(SchemaError, match="control character"):
        write_bundle(tmp_path / "b", replace(made.manifest, task="a\x1bb"), made.files, KEY, overwrite=False)
    assert not list(tmp_path.iterdir())


# What a person sees.


@pytest.mark.parametrize("command", ["inspect", "verify", "run"])
def test_every_command_exits_with_6_before_it_loads_an_interpreter(
    attacker: Attacker, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    attacker.replace(ONNX, b"rubbish")
    (tmp_path / "evil.tamiyo").write_bytes(attacker.bytes)
    (tmp_path / "signer.pub").write_bytes(KEY.public.to_pem())
    assert main([command, str(tmp_path / "evil.tamiyo"), "--key", str(tmp_path / "signer.pub")]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    error, hint = err.splitlines()
    assert error.startswith("error: evil.tamiyo: 'graphs/onnx/net.onnx' is truncated, or is not an ONNX model")
    assert hint.startswith("hint: ")


def test_opening_a_bundle_loads_no_interpreter_and_no_library_of_a_format(tmp_path: Path, attacker: Attacker) -> None:
    (tmp_path / "b.tamiyo").write_bytes(attacker.bytes)
    code = (
        "import sys; from pathlib import Path; from tamiyo_runtime.bundle import Bundle;"
        "from tamiyo_runtime.signing import PublicKey, Trust;"
        f"Bundle.open(Path(sys.argv[1]), trusted=Trust.of(PublicKey(bytes.fromhex('{KEY.public.raw.hex()}'))));"
        "print(sorted({'onnx', 'onnxruntime', 'ai_edge_litert', 'flatbuffers', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b.tamiyo")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
