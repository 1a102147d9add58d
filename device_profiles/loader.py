"""Profiles by id, from the files that come with the package, or by path from a file of the user's own."""

from __future__ import annotations

import functools
import hashlib
import tomllib
from importlib import resources
from pathlib import Path

from device_profiles.profile import Profile
from device_profiles.schema import parse_profile
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError

SUFFIX = ".toml"
_LIMIT_BYTES = 1 << 20


def profile_ids() -> tuple[str, ...]:
    """Ids of the profiles that come with the package, sorted."""
    names = (entry.name for entry in resources.files("device_profiles").joinpath("data").iterdir())
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)))


def load_profile(name: str) -> Profile:
    """The profile of that id, or in the file of that path when it ends in ``.toml``.

    Raises UnknownNameError with near names, InputError for a file that cannot be read or is not TOML, SchemaError for
    one that breaks the schema.
    """
    if name.endswith(SUFFIX):
        return _parse(_read(Path(name)), name)
    return _packaged(name)


def read_profile(name: str) -> bytes:
    """The file of a profile, found as `load_profile` finds it; raises UnknownNameError or InputError."""
    if name.endswith(SUFFIX):
        return _read(Path(name))
    if name not in profile_ids():
        raise UnknownNameError("profile", name, profile_ids())
    return resources.files("device_profiles").joinpath("data", name + SUFFIX).read_bytes()


@functools.cache
def _packaged(name: str) -> Profile:
    if name not in profile_ids():
        raise UnknownNameError("profile", name, profile_ids())
    profile = _parse(resources.files("device_profiles").joinpath("data", name + SUFFIX).read_bytes(), name + SUFFIX)
    if profile.id != name:
        raise SchemaError(f"{name}{SUFFIX}: id", f"is '{profile.id}', the file is called '{name}'")
    return profile


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
    except OSError as exc:
        raise InputError(f"cannot read {path}: {exc.strerror}", hint="tamiyo profile show ID shows a profile") from exc
    if len(raw) > _LIMIT_BYTES:
        raise InputError(f"{path} is larger than {_LIMIT_BYTES} bytes", hint="is it a device profile?")
    return raw


def _parse(raw: bytes, path: str) -> Profile:
    try:
        document = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InputError(f"{path} is not TOML: {exc}", hint="one figure a line, tables in [brackets]") from exc
    return parse_profile(document, sha256=hashlib.sha256(raw).hexdigest(), path=path)
