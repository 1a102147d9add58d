"""``tamiyo verify``: is this bundle what it claims to be, and does it work here?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as `tamiyo export` writes it.")],
    *,
    key: Annotated[list[Path] | None, typer.Option(help="trust this public key, and no other")] = None,
    replay: Annotated[bool, typer.Option(help="replay the self-test vectors")] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="fail as well when a variant cannot be replayed here")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Check signature, hashes and structure, then replay the self-test on this machine. Exit 6 when anything fails.

    Its graphs run in a process of their own, so that one that crashes, hangs or eats memory is a verdict too.

    Example: tamiyo verify digits.tamiyo --key factory.pub
    """
    from dataclasses import asdict

    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.cli.trust import open_bundle, trust_of
    from tamiyo_runtime.contracts.errors import IntegrityError
    from tamiyo_runtime.selftest import Check

    opened = open_bundle(bundle, key)
    trusted = trust_of(key)
    signer = trusted.keys.get(opened.signer, "unnamed")
    checks: tuple[Check, ...] = ()
    unconfined: tuple[str, ...] = ()
    if replay:
        from tamiyo_runtime.canary import examine

        verdict = examine(bundle, trusted=trusted, digest=opened.digest)
        checks, unconfined = verdict.checks, verdict.unconfined
    failed = [check for check in checks if check.ok is False or (strict and check.ok is None)]
    if as_json:
        emit_json(
            {
                "ok": not failed,
                "bundle": opened.manifest.name,
                "digest": opened.digest,
                "signer": {"name": signer, "id": opened.signer.id},
                "files": len(opened.names),
                "size_bytes": opened.size_bytes,
                "self_test": [asdict(check) for check in checks],
                "unconfined": list(unconfined),
            }
        )
    else:
        say(f"signature  ok    by '{signer}' ({opened.signer.short_id}) over manifest {opened.digest[:16]}")
        say(f"files      ok    {len(opened.names)} files, {opened.size_bytes} bytes, every SHA-256 as signed")
        if not checks:
            say(f"self-test  skip  {'not asked for' if not replay else 'no interpreter for it is installed'}")
        else:
            verdicts = {True: "ok", False: "FAIL", None: "skip"}
            table(
                ["self-test", "result", "vectors", "largest difference", "allowed", "remark"],
                [
                    [
                        check.name,
                        verdicts[check.ok],
                        check.vectors,
                        None if check.worst is None else f"{check.worst:.2e}",
                        None if check.allowed is None else f"{check.allowed:.2e}",
                        check.problem or "",
                    ]
                    for check in checks
                ],
            )
    if failed:
        raise IntegrityError(
            f"{bundle.name}: the self-test of {failed[0].name} failed: {failed[0].problem}",
            hint="don't run it on this machine; export it again, or use another interpreter",
        )
    if not as_json:
        if unconfined:
            say(
                f"canary     note  this system would not let the process that tried it give up: {', '.join(unconfined)}"
            )
        say(f"{bundle.name} is what '{signer}' signed" + (" and works here" if checks else ""))
