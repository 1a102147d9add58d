"""Which keys a command trusts, what it lets through to an interpreter, and what it writes down of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tamiyo_runtime.audit import AuditLog, Happened, Scalar
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli.render import note
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.files import lacks_space
from tamiyo_runtime.installed import record_version
from tamiyo_runtime.signing import PublicKey, Trust, home


def trust_of(keys: Sequence[Path] | None) -> Trust:
    """Trust in the public keys given, and in no others; without any, in the user's trusted folder."""
    return Trust({PublicKey.load(path): path.stem for path in keys}) if keys else Trust.default()


def open_bundle(path: Path, keys: Sequence[Path] | None) -> Bundle:
    """Open and verify a bundle for a command.

    Raises InputError for what plainly is something else, saying what, before it is taken for a broken bundle.
    """
    refuse_other(path)
    return Bundle.open(path, trusted=trust_of(keys))


def canary_gate(path: Path, keys: Sequence[Path] | None) -> Callable[[Bundle], None]:
    """Lets through what the canary came back from: tried in a process of its own, the first time on this machine."""

    def gate(bundle: Bundle) -> None:
        from tamiyo_runtime.admission import admit_once

        if not admit_once(bundle, path, trusted=trust_of(keys)):
            note(f"warning: {home()} cannot be written, so the bundle is tried in a process of its own at every start")

    return gate


def write_down(bundle: Bundle) -> None:
    """Note that this version runs here. A full disk stops no bundle that may run: a later start notes it."""
    try:
        record_version(bundle)
    except InputError as exc:
        if not lacks_space(exc):
            raise
        note(f"warning: {exc.message}")


def teller(folder: Path) -> Callable[..., None]:
    """Writes to the audit log in a folder: ``tell(kind, **data)``. A log that cannot be written is a warning."""
    log = AuditLog(folder)

    def tell(kind: Happened, **data: Scalar) -> None:
        try:
            log.append(kind, **data)
        except InputError as exc:
            note(f"warning: {exc.message}")

    return tell


def refuse_other(path: Path) -> None:
    """Raise InputError when a path is a run folder, another folder, a profile or a document: what users mix up."""
    if path.is_dir():
        if (path / "run.json").is_file():
            raise InputError(
                f"{path} is a run folder, not a bundle", hint=f"make one of it: tamiyo export {path} --target TARGET"
            )
        raise InputError(
            f"{path} is a folder, not a bundle",
            hint="a bundle is one file, as `tamiyo export` writes it; a folder that a device's bundles are changed in "
            f"begins with: tamiyo update init {path}",
        )
    if path.suffix == ".toml" and path.is_file():
        raise InputError(f"{path} is a TOML file, not a bundle", hint=f"a device profile? tamiyo profile show {path}")
    if path.suffix == ".json" and path.is_file():
        raise InputError(
            f"{path} is a JSON document, not a bundle", hint=f"an export plan? tamiyo export --replay {path}"
        )
