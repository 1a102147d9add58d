"""Before a bundle runs on this machine, its graphs run in a throw-away process: the canary.

Screening sees what a graph's file is made of, not what its operators do. So every graph that can be run here is loaded,
every configuration run, and the recorded answers compared, in a child process with little memory and little time (see
`tamiyo_runtime.cage`). A graph that crashes, hangs, or eats memory takes the child along and nobody else. The caller
never hands a graph to an interpreter before the canary came back.

Not covered: what a graph does for inputs other than those that are tried, and code that takes over the child: it
could forge the verdict. Both need the signature of a key that is trusted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_runtime import cage
from tamiyo_runtime.cage import Limits
from tamiyo_runtime.contracts.document import load
from tamiyo_runtime.contracts.errors import (
    ExitCode,
    IncompatibleError,
    InputError,
    IntegrityError,
    MissingDependencyError,
    SchemaError,
    TamiyoError,
)
from tamiyo_runtime.selftest import Check
from tamiyo_runtime.signing import Trust

_CHILD = "tamiyo_runtime.canary_child"
_STARTING = "starting"
_ERRORS: dict[int, type[TamiyoError]] = {
    ExitCode.USAGE: InputError,
    ExitCode.INCOMPATIBLE: IncompatibleError,
    ExitCode.MISSING: MissingDependencyError,
}
_HINT = "don't run it on this machine; ask its signer, or export the bundle again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the canary came back with. ``checks``: one a configuration, ``ok`` None where no engine is installed.

    ``peak_memory_bytes``: resident, of the child. ``unconfined``: what this system would not let the child give up, as
    ``network``.
    """

    digest: str
    checks: tuple[Check, ...]
    peak_memory_bytes: int
    unconfined: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that were answered wrong."""
        return tuple(check for check in self.checks if check.ok is False)


def examine(path: Path, *, trusted: Trust, digest: str | None = None, limits: Limits | None = None) -> Verdict:
    """Open the bundle at ``path`` in a child process, load every graph and replay the self-test.

    ``digest``: that of the manifest the caller has opened; another one at that path is refused. Wrong answers are in
    the verdict. Raises IntegrityError when the bundle is refused or its process dies, runs out of its limits, or
    answers rubbish; InputError when it cannot be read, MissingDependencyError when an engine does not even start here.
    """
    limits = limits or Limits()
    request = {"path": str(path.absolute()), "keys": [key.raw.hex() for key in trusted.keys], "digest": digest}
    end = cage.run(_CHILD, request, limits)
    said, problem = _documents(end.lines)
    doing = next((item["doing"] for item in reversed(said) if isinstance(item.get("doing"), str)), _STARTING)
    doing = cage.printable(doing)
    if (death := end.death(limits)) is not None:
        if doing == _STARTING or doing.startswith("importing "):
            why = f" ({end.error})" if end.error else ""
            raise MissingDependencyError(
                f"the process that tries bundles {death} while {doing}{why}", hint="tamiyo doctor"
            )
        raise IntegrityError(f"{path.name}: its process {death} while {doing}", hint=_HINT)
    if problem is None and said and isinstance(said[-1].get("error"), dict):
        raise _error(path.name, said[-1]["error"])
    if problem is None and said and isinstance(said[-1].get("verdict"), dict):
        try:
            return load(Verdict, said[-1]["verdict"], path="verdict")
        except SchemaError as exc:
            problem = exc.message
    raise IntegrityError(f"{path.name}: its process answered rubbish ({problem or 'nothing'})", hint=_HINT)


def admit(path: Path, *, trusted: Trust, digest: str | None = None, limits: Limits | None = None) -> Verdict:
    """`examine`, and raise IntegrityError for a wrong answer too: the gate before a bundle may run."""
    verdict = examine(path, trusted=trusted, digest=digest, limits=limits)
    for check in verdict.failed:
        raise IntegrityError(f"{path.name}: the self-test of {check.name} failed: {check.problem}", hint=_HINT)
    return verdict


def _documents(lines: tuple[str, ...]) -> tuple[list[dict[str, Any]], str | None]:
    """What the child said, and what was wrong with the first line that is no document."""
    said: list[dict[str, Any]] = []
    for line in lines:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return said, f"{cage.printable(line, 60)!r} is no JSON"
        if not isinstance(document, dict):
            return said, f"{cage.printable(line, 60)!r} is no object"
        said.append(document)
    return said, None


def _error(name: str, told: dict[str, Any]) -> TamiyoError:
    kind = _ERRORS.get(told.get("exit_code", 0), IntegrityError)
    message = cage.printable(str(told.get("message", "no message")))
    if not message.startswith(name):
        message = f"{name}: {message}"
    hint = told.get("hint")
    return kind(message, hint=cage.printable(hint) if isinstance(hint, str) else _HINT)
