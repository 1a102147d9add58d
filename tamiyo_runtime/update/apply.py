"""A bundle that lies on this machine into the idle slot: the same steps as over the air, taken up where they ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tamiyo_runtime.admission import admit_once
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.signing import Trust
from tamiyo_runtime.update.chunks import FAST_CHUNK_BYTES, MAX_BYTES, Chunks
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.states import SlotState
from tamiyo_runtime.update.store import Store, Verify
from tamiyo_runtime.update.transfer import Receiver


def identity_of(bundle: Bundle) -> Identity:
    """What the slots remember of an opened bundle."""
    manifest, signer = bundle.manifest, bundle.signer
    return Identity(name=manifest.name, version=manifest.version, signer=signer.id, public=signer.raw.hex())


def verifier(root: Path, trusted: Trust) -> Verify:
    """Opens files below ``root`` as bundles that one of these keys signed and that the canary comes back from."""

    def verify(name: str) -> Identity:
        bundle = Bundle.open(root / name, trusted=trusted)
        admit_once(bundle, root / name, trusted=trusted, again=True)  # its first start need not
        return identity_of(bundle)

    return verify


def list_of(path: Path, chunk_bytes: int = FAST_CHUNK_BYTES, *, digest_bytes: int = 32) -> Chunks:
    """The list of chunks of a file; raises InputError when it is missing, empty or larger than a bundle may be."""
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_BYTES:
            raise InputError(f"{path} has {size} bytes", hint=f"a bundle has between 1 and {MAX_BYTES}")
        return Chunks.of(_pieces(path, chunk_bytes), chunk_bytes=chunk_bytes, digest_bytes=digest_bytes)
    except OSError as exc:
        raise InputError(f"cannot read bundle {path}: {exc.strerror}", hint="check the path") from exc


def install(
    store: Store,
    path: Path,
    verify: Verify,
    *,
    chunk_bytes: int = FAST_CHUNK_BYTES,
    again: bool = False,
    progress: Callable[[Receiver], None] | None = None,
) -> None:
    """Receive, verify and switch to a bundle. Given again after an interruption, it does what is left to be done.

    Raises InputError, IntegrityError, SignatureError or DowngradeError; whatever ran before then still runs.
    """
    chunks = list_of(path, chunk_bytes)
    slot = store.record.slots[store.record.idle]
    waiting = slot.state in {SlotState.STAGED, SlotState.VERIFIED} and slot.sha256 == chunks.sha256.hex()
    if not waiting or store.record.on_trial:
        receiver = store.begin(chunks, again=again)
        with path.open("rb") as stream:
            for index in receiver.missing():
                stream.seek(index * chunk_bytes)
                receiver.take(index, stream.read(chunks.length(index)))
                if progress is not None:
                    progress(receiver)
        store.finish(receiver)
    if store.record.slots[store.record.idle].state is SlotState.STAGED:
        store.verify(verify)
    store.switch()


def _pieces(path: Path, chunk_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(chunk_bytes):
            yield piece
