"""Unfinished work of a run, in ``RUN/.work``: what each finished job gave, and how far the final growth has come.

    settings.json     what the work is for, and by what code: resumed with anything else, it is refused
    NAME.safetensors  one file a finished job, and the state of the growth; each knows its own hash
    audit.jsonl       the growth's log so far
    lock              held by the process at work

Every file but the log is put in place whole. One that is damaged is not used: its job is done again, and that is said.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from tamiyo_runtime.contracts.document import check_schema, parse_json
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError, UsageError
from tamiyo_runtime.files import write_atomic_text
from tamiyo_train import tensorfile
from tamiyo_train.audit import verify
from tamiyo_train.audit_file import read_entries
from tamiyo_train.codec import Tensors, decode, encode
from tamiyo_train.config import TrainConfig
from tamiyo_train.fingerprint import code

SCHEMA = "tamiyo.work/1"
FOLDER = ".work"
_SETTINGS, _LOCK, _VERSIONS = "settings.json", "lock", "versions"
T = TypeVar("T")


def is_unfinished(run: Path) -> bool:
    """Whether a run folder holds work that was begun and not finished."""
    return (run / FOLDER / _SETTINGS).is_file()


def settings_of(run: Path) -> dict[str, Any]:
    """What the unfinished work of a run folder is for; raises InputError or IntegrityError."""
    path = run / FOLDER / _SETTINGS
    if not path.is_file():
        raise InputError(f"there is no unfinished work in {run}", hint=f"start it: tamiyo train {run}")
    try:
        settings = parse_json(path.read_bytes(), path=_SETTINGS)
        check_schema(settings["schema"], SCHEMA, path=f"{_SETTINGS}.schema")
    except (KeyError, TypeError, SchemaError) as exc:
        raise IntegrityError(f"{path} is damaged: {exc}", hint="start anew with --overwrite") from exc
    return dict(settings)


def config_of(run: Path) -> TrainConfig:
    """The configuration of the unfinished work of a run folder."""
    kept = settings_of(run).get("config")
    if kept is None:
        raise InputError(
            f"what was begun in {run} is no run",
            hint=f"if it is a course: tamiyo train --curriculum {run} --resume, with its options",
        )
    try:
        config: TrainConfig = decode(TrainConfig, kept, {}, path="config")
    except SchemaError as exc:
        raise IntegrityError(
            f"{run / FOLDER / _SETTINGS} is of another version of tamiyo: {exc.message}",
            hint="start anew with --overwrite",
        ) from exc
    return config


class Work:
    """The work folder of one run, held by this process alone until it is released."""

    def __init__(self, run: Path, *, on_remark: Callable[[str], None] | None = None) -> None:
        """Take hold of the folder; raises InputError when another process has it."""
        self.folder = run / FOLDER
        self._say = on_remark or _silent
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise InputError(f"cannot write {self.folder}: {exc.strerror}", hint="check the folder") from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InputError(
                f"another process is at work in {run}", hint="wait for it, stop it, or choose another folder"
            ) from None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Forget whatever was here and start anew."""
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink()
        text = json.dumps(_whole(settings), indent=1, sort_keys=True, allow_nan=False)
        write_atomic_text(self.folder / _SETTINGS, text, overwrite=True)

    def go_on(self, settings: Mapping[str, Any]) -> None:
        """Go on with what is here; raises UsageError naming the first setting, or else version, that differs."""
        kept = settings_of(self.folder.parent)
        wanted = dict(_flat(_whole(settings)))
        found = dict(_flat(kept))
        # In the order they are declared: another --steps is told as steps, not as a setting that follows from it.
        for name in (*wanted, *sorted(found.keys() - wanted.keys())):
            if wanted.get(name) != found.get(name):
                raise UsageError(
                    f"the unfinished work was begun with {name} = {_shown(found.get(name))}, "
                    f"not {_shown(wanted.get(name))}",
                    hint="--resume goes on with the options and the code it was begun with; --overwrite starts anew",
                )

    def path(self, name: str) -> Path:
        """Where something of that name is kept."""
        return self.folder / f"{name}.safetensors"

    def kept(self, name: str, kind: type[T]) -> T | None:
        """What `keep` wrote under a name; None when there is nothing, or nothing sound, which is said."""
        found = self.sound(name)
        if found is None:
            return None
        document, tensors = found
        value: T = decode(kind, document["value"], tensors)
        return value

    def sound(self, name: str) -> tuple[dict[str, Any], Tensors] | None:
        """Document and tensors of a file; None when it is not there or damaged, which is said, and the file dropped."""
        path = self.path(name)
        if not path.exists():
            return None
        try:
            return tensorfile.read(path)
        except IntegrityError as exc:
            self._say(f"{exc.message}; done again")
            path.unlink()
            return None

    def check_log(self, name: str) -> None:
        """Drop an audit log that is damaged, which is said."""
        path = self.folder / name
        if path.exists():
            try:
                verify(read_entries(path))
            except IntegrityError as exc:
                self._say(f"{exc.message}; written again")
                path.unlink()

    def drop(self, name: str) -> None:
        """Forget what is kept under a name."""
        self.path(name).unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of the folder; what is in it stays."""
        os.close(self._lock)

    def remove(self) -> None:
        """The run is saved: the folder goes."""
        shutil.rmtree(self.folder)


def keep(path: Path, value: Any) -> None:
    """Write a value, whole or not at all."""
    tensors: Tensors = {}
    document = {"value": encode(value, tensors)}
    tensorfile.write(path, document, tensors)


def keeping(future: Future[T], path: Path) -> Future[T]:
    """What a future gives, once that is kept.

    This process writes it, whoever did the job: a worker may be on another machine.
    """
    kept: Future[T] = Future()

    def on_done(done: Future[T]) -> None:
        try:
            result = done.result()
            keep(path, result)
        except Exception as exc:  # noqa: BLE001  (a future hands any error on to who asks for the result)
            kept.set_exception(exc)
        else:
            kept.set_result(result)

    future.add_done_callback(on_done)
    return kept


def settings_for(config: TrainConfig, **others: Any) -> dict[str, Any]:
    """Everything a result depends on."""
    return {"config": encode(config, {}), **others}


def _whole(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are kept. Files of ours too: what was done by two rules, of charges say, cannot be mixed."""
    return {"schema": SCHEMA, **settings, _VERSIONS: code()}


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            name = f"{prefix}{key}"
            for part in ("config", "course", _VERSIONS):
                name = name.removeprefix(f"{part}.")
            yield name, value


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _silent(remark: str) -> None:
    """Says nothing."""
