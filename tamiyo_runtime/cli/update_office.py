"""The half of ``tamiyo update`` that is done away from the device: sign orders, and see what a transfer costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def estimate(
    bundle: Annotated[Path, typer.Argument(help="a bundle, as `tamiyo export` writes it")],
    *,
    link: Annotated[str, typer.Option(help="a link, as for `tamiyo run`")] = "lora-eu868",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Count the frames and bytes that a bundle takes over a link, and how long the link needs for them.

    Without retransmissions; the time is at the rate that the link can carry for ever in the direction it describes.

    Example: tamiyo update estimate digits.tamiyo --link lora-eu868
    """
    from dataclasses import asdict

    from tamiyo_runtime.cli.field_checks import open_link
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_runtime.contracts.units import size
    from tamiyo_runtime.files import read_bytes
    from tamiyo_runtime.update.chunks import LORA_PAYLOAD_BYTES, MAX_BYTES, Chunks, traffic

    opened = open_link(link)
    data = read_bytes(bundle, limit_bytes=MAX_BYTES, what="bundle")
    narrow = opened.max_payload_bytes() < 1024
    payload_bytes = min(LORA_PAYLOAD_BYTES, opened.max_payload_bytes()) if narrow else opened.max_payload_bytes()
    chunks = Chunks.for_payload(data, payload_bytes)
    cost = traffic(chunks, opened)
    if as_json:
        emit_json({"bundle_bytes": len(data), "chunk_bytes": chunks.chunk_bytes, "link": opened.label, **asdict(cost)})
        return
    say(f"bundle           {size(len(data))} in {chunks.count} chunks of {chunks.chunk_bytes} bytes")
    say(f"link             {opened.label}: frames of at most {payload_bytes} bytes")
    say(f"to be sent       {cost.frames} frames, {cost.payload_bytes} bytes, the list of chunks included")
    say(f"time             {cost.seconds / 3600:.3g} h at the rate the link sustains; nothing sent twice")


def sign(
    out: Annotated[Path, typer.Argument(help="file to write the order to")],
    *,
    key: Annotated[Path, typer.Option(help="private key of the signer")],
    counter: Annotated[
        int | None, typer.Option(help="above that of every order this key signed before; default: the time in ms")
    ] = None,
    valid_s: Annotated[int, typer.Option(help="good for so many seconds from now on")] = 86400,
    device: Annotated[str | None, typer.Option(help="for this device")] = None,
    fleet: Annotated[str | None, typer.Option(help="for every device of this fleet")] = None,
    order: Annotated[
        str, typer.Option(help='what to do, as JSON: {"policy": false}, {"bundle": "FILE"}, ...', metavar="JSON")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file")] = False,
) -> None:
    """Sign an order. What can be ordered is listed in docs/update.md.

    Examples:

      tamiyo update sign o.json --key orders.key --device pump-7 --order '{"budget": {"latency_ms": 5}}'

      tamiyo update sign o.json --key orders.key --fleet pumps --order '{"bundle": "digits-2.tamiyo"}'
    """
    import time

    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.files import write_atomic
    from tamiyo_runtime.signing import SigningKey
    from tamiyo_runtime.update.orders import command_of, next_counter

    now_s = time.time()
    number = next_counter(now_s) if counter is None else counter
    command = command_of(body_of(order), counter=number, now_s=now_s, valid_s=valid_s, device=device, fleet=fleet)
    write_atomic(out, command.sign(SigningKey.load(key)), overwrite=overwrite)
    say(f"{out}: {command.orders[0]} for {device or fleet}, counter {number}, good for {valid_s} s")


def body_of(order: str) -> Mapping[str, Any]:
    """What ``--order`` says; raises SchemaError for no JSON, UsageError for no object."""
    from tamiyo_runtime.contracts.document import parse_json
    from tamiyo_runtime.contracts.errors import UsageError

    body = parse_json(order.encode(), path="--order")
    if not isinstance(body, dict):
        raise UsageError("--order is not a JSON object", hint="""as in --order '{"policy": false}'""")
    return body
