"""Lets a bundle in that the canary came back from, on this machine, with these engines; tries one that is not known.

Part of every start, so it imports little: the canary itself only when there is something to try.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path, PurePosixPath

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.plan import Format, Graph
from tamiyo_runtime.installed import is_admitted, record_admitted
from tamiyo_runtime.interpreters import available, interpreters
from tamiyo_runtime.signing import Trust


def admit_once(bundle: Bundle, path: Path, *, trusted: Trust, folder: Path | None = None, again: bool = False) -> bool:
    """Try a bundle that this machine does not know yet, and remember it; whether it could be remembered.

    What is remembered costs one small file that is read anyway; a changed bundle or engine is tried again, and with
    ``again`` every bundle. ``folder`` as in `tamiyo_runtime.installed`. Raises what `canary.admit` does.
    """
    engines = engines_here(bundle)
    if not again and is_admitted(bundle.digest, engines, folder=folder):
        return True
    from tamiyo_runtime.canary import admit

    admit(path, trusted=trusted, digest=bundle.digest)
    try:
        record_admitted(bundle.digest, engines, folder=folder)
    except InputError:  # a home that cannot be written: then at every start, which is slower and no less safe
        return False
    return True


def engines_here(bundle: Bundle) -> str:
    """Which installed engines would run a bundle, as a short text that changes when one is replaced.

    By their packages' files, size and time of change: to ask for versions would cost a start ten milliseconds.
    """
    parts = [sys.version]
    for form in forms_here(bundle):
        for name in available(form):
            spec = importlib.util.find_spec(interpreters.get(name).module.partition(".")[0])
            if spec is not None and spec.origin is not None:
                stat = Path(spec.origin).stat()
                parts.append(f"{name} {spec.origin} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def forms_here(bundle: Bundle) -> tuple[Format, ...]:
    """Formats of the bundle's graphs for which an interpreter is installed."""
    return tuple(sorted({_form_of(graph) for graph in graphs_here(bundle)}))


def graphs_here(bundle: Bundle) -> tuple[Graph, ...]:
    """Every graph of the bundle for which an interpreter is installed, the policy's last."""
    policy = bundle.manifest.policy
    graphs = [graph for variant in bundle.manifest.variants for graph in variant.graphs.values()]
    graphs += policy.graphs.values() if policy else []
    return tuple(graph for graph in graphs if available(_form_of(graph)))


def _form_of(graph: Graph) -> Format:
    return Format(PurePosixPath(graph.file).suffix.removeprefix("."))
