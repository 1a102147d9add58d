"""Bundles: nothing that was changed, cut, forged or made by another hand is ever opened."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.archive import MAX_MEMBER_BYTES, MAX_MEMBERS, pack, unpack
from tamiyo_runtime.bundle import ENVELOPE, MANIFEST, Bundle, write_bundle
from tamiyo_runtime.contracts.errors import (
    InputError,
    IntegrityError,
    SchemaError,
    SchemaVersionError,
    SignatureError,
    TamiyoError,
)
from tamiyo_runtime.signing import SigningKey, Trust
from tests import tiny

NAMES = st.lists(st.text("abcdef0123456789_", min_size=1, max_size=8), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=6))
def test_an_archive_gives_back_what_was_packed_and_any_zip_tool_reads_it(members: dict[str, bytes]) -> None:
    data = pack(members)
    assert unpack(data, source="test") == members
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members


def test_the_same_contents_give_the_same_bytes_in_any_order(key: SigningKey, tmp_path: Path) -> None:
    made = tiny.make()
    backwards = dict(reversed(made.files.items()))
    write_bundle(tmp_path / "a", made.manifest, made.files, key, overwrite=False)
    write_bundle(tmp_path / "b", made.manifest, backwards, key, overwrite=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_bundle_opens_with_the_key_that_signed_it(tiny_bundle: Bundle, key: SigningKey) -> None:
    assert tiny_bundle.signer == key.public
    assert tiny_bundle.manifest.name == "tiny"
    assert tiny_bundle.read("samples.npz")[:2] == b"PK"
    with pytest.raises(InputError, match="holds no 'nothing'"):
        tiny_bundle.read("nothing")


@given(data=st.data())
def test_no_flipped_byte_is_ever_accepted(data: st.DataObject, tiny_path: Path, key: SigningKey) -> None:
    raw = bytearray(tiny_path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError) as caught:
        Bundle.parse(bytes(raw), name="flipped.tamiyo", trusted=Trust.of(key.public))
    assert caught.value.exit_code == 6
    assert "\n" not in caught.value.message


@given(data=st.data())
def test_no_truncated_bundle_is_ever_accepted(data: st.DataObject, tiny_path: Path, key: SigningKey) -> None:
    raw = tiny_path.read_bytes()
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(IntegrityError):
        Bundle.parse(cut, name="cut.tamiyo", trusted=Trust.of(key.public))


@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes_are_refused_in_one_line(raw: bytes, as_zip: bool) -> None:
    with pytest.raises(TamiyoError) as caught:
        Bundle.parse(b"PK\x03\x04" + raw if as_zip else raw, name="x", trusted=Trust({}))
    assert caught.value.exit_code == 6


def test_a_damaged_file_is_named(tiny_path: Path, key: SigningKey) -> None:
    raw = tiny_path.read_bytes()
    place = raw.index(b"TFL3")
    with pytest.raises(IntegrityError, match=r"'graphs/float/head\.tflite' is corrupt"):
        Bundle.parse(raw[:place] + b"X" + raw[place + 1 :], name="b", trusted=Trust.of(key.public))


def _repacked(path: Path, **changes: bytes | None) -> bytes:
    members = unpack(path.read_bytes(), source="original")
    for name, data in changes.items():
        if data is None:
            del members[name]
        else:
            members[name] = data
    return pack(members)


def test_swapped_missing_and_added_files_are_named(tiny_path: Path, key: SigningKey) -> None:
    trust = Trust.of(key.public)
    for change, message in (
        ({"samples.npz": b"other"}, "'samples.npz' is not the file that was signed"),
        ({"samples.npz": None}, "'samples.npz' is listed in the manifest and missing"),
        ({"extra.bin": b"more"}, "'extra.bin' is not listed in the manifest"),
        ({MANIFEST: None}, "holds no manifest.json"),
    ):
        with pytest.raises(IntegrityError, match=message):
            Bundle.parse(_repacked(tiny_path, **change), name="b", trusted=trust)


def test_a_bundle_without_signature_is_called_unsigned(tiny_path: Path, key: SigningKey) -> None:
    with pytest.raises(SignatureError, match="not signed"):
        Bundle.parse(_repacked(tiny_path, **{ENVELOPE: None}), name="b", trusted=Trust.of(key.public))


def test_the_signature_is_checked_before_the_manifest_is_read(tiny_path: Path, key: SigningKey) -> None:
    """A manifest that would not parse does not get the chance to, unless someone trusted has signed it."""
    rubbish = b"not even json"
    stranger = SigningKey.generate()
    forged = _repacked(tiny_path, **{MANIFEST: rubbish, ENVELOPE: stranger.sign(rubbish)})
    with pytest.raises(SignatureError, match="not trusted"):
        Bundle.parse(forged, name="b", trusted=Trust.of(key.public))
    signed = _repacked(tiny_path, **{MANIFEST: rubbish, ENVELOPE: key.sign(rubbish)})
    with pytest.raises(IntegrityError, match="not valid JSON"):
        Bundle.parse(signed, name="b", trusted=Trust.of(key.public))


def test_the_manifest_must_be_the_one_that_was_signed(tiny_path: Path, key: SigningKey) -> None:
    members = unpack(tiny_path.read_bytes(), source="original")
    changed = members[MANIFEST].replace(b'"tiny"', b'"tony"')
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        Bundle.parse(_repacked(tiny_path, **{MANIFEST: changed}), name="b", trusted=Trust.of(key.public))


def test_a_newer_manifest_is_told_from_a_broken_one(tmp_path: Path, tiny_path: Path, key: SigningKey) -> None:
    members = unpack(tiny_path.read_bytes(), source="original")
    newer = json.dumps({**json.loads(members[MANIFEST]), "schema": "tamiyo.manifest/2"}).encode()
    with pytest.raises(SchemaVersionError) as caught:
        Bundle.parse(
            _repacked(tiny_path, **{MANIFEST: newer, ENVELOPE: key.sign(newer)}), name="b", trusted=Trust.of(key.public)
        )
    assert caught.value.hint == "upgrade tamiyo-edge"


def _zip(**kinds: zipfile.ZipInfo | str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, info in kinds.items():
            archive.writestr(info if isinstance(info, zipfile.ZipInfo) else name, "contents")
    return stream.getvalue()


def test_archives_by_other_tools_links_duplicates_and_bombs_are_refused() -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    one = pack({"a": b"1"})
    member = one[: one.index(b"PK\x01\x02")]
    for hostile in (_zip(a="a"), _zip(link=link), bomb.getvalue(), member + one, one + b"trailing", b"leading" + one):
        with pytest.raises(IntegrityError):
            unpack(hostile, source="hostile")


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../b", "a\\b", "", "a//b", "./a", "x" * 201])
def test_unsafe_member_names_can_be_neither_written_nor_read(name: str) -> None:
    with pytest.raises(SchemaError, match="unsafe"):
        pack({name: b""})
    if 0 < len(name) <= 200:  # the same archive with the name replaced in both its headers
        safe = pack({"n" * len(name): b""})
        with pytest.raises(IntegrityError, match="unsafe"):
            unpack(safe.replace(b"n" * len(name), name.encode()), source="hostile")


def test_sizes_and_counts_are_limited() -> None:
    with pytest.raises(SchemaError, match="the limit is"):
        pack({"big": bytes(MAX_MEMBER_BYTES + 1)})
    with pytest.raises(SchemaError, match="files, the limit is"):
        pack({f"{i:04}": b"" for i in range(MAX_MEMBERS + 1)})
    with pytest.raises(SchemaError, match="bytes in all"):
        pack(dict.fromkeys(("a", "b", "c"), bytes(MAX_MEMBER_BYTES)))


def test_a_missing_bundle_is_the_users_mistake_not_a_corrupt_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bundle not found") as caught:
        Bundle.open(tmp_path / "none.tamiyo")
    assert caught.value.exit_code == 2


def test_nothing_is_overwritten_unless_asked(tmp_path: Path, key: SigningKey) -> None:
    made, path = tiny.make(), tmp_path / "b.tamiyo"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        write_bundle(path, made.manifest, made.files, key, overwrite=False)
    assert path.read_bytes() == b"precious"
    written = write_bundle(path, replace(made.manifest, name="renamed"), made.files, key, overwrite=True)
    assert written.files["samples.npz"].size_bytes == len(made.files["samples.npz"])
    assert Bundle.open(path, trusted=Trust.of(key.public)).manifest.name == "renamed"
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []
