"""``tamiyo link``: simulated links between real programs, what there is of them, and what one will do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, context_settings=_HELP)
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace files that exist")]
Name = Annotated[str, typer.Argument(metavar="LINK", help="as in `tamiyo run --link`; `tamiyo link list` has them all")]


@app.callback()
def link() -> None:
    """Simulated links: as a network between real programs, as a list, or foretold."""


@app.command("list")
def list_links(*, as_json: Json = False) -> None:
    """List the links with their options, payloads, sustainable rates and sources.

    Example:  tamiyo link list
    """
    from tamiyo_runtime.cli.link_view import catalogue, show_catalogue
    from tamiyo_runtime.cli.render import emit_json

    entries = catalogue()
    emit_json({"links": entries}) if as_json else show_catalogue(entries)


@app.command()
def trace(
    name: Name,
    *,
    seconds: Annotated[float, typer.Option(help="of the link's time")] = 60.0,
    every_s: Annotated[float, typer.Option("--every", help="seconds from one message to the next")] = 1.0,
    size_bytes: Annotated[
        int, typer.Option("--bytes", help="of each message; more than a payload takes several")
    ] = 200,
    record: Annotated[Path | None, typer.Option(help="write it as a file for `relay --replay`")] = None,
    plot: Annotated[Path | None, typer.Option(help="write a picture of it to this .svg")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say what a link will do to messages upwards: when each starts, when it arrives, where there is no coverage.

    Simulated, and offline: a relay with the same link, offered the same bytes at the same times, decides the same.

    Example:  tamiyo link trace 'nb-iot?seed=1' --seconds 60 --plot nb-iot.svg
    """
    from tamiyo_runtime.cli.link_trace import show_trace, trace_of, write_plot, write_record
    from tamiyo_runtime.cli.render import emit_json

    made = trace_of(name, seconds=seconds, every_s=every_s, size_bytes=size_bytes)
    if record is not None:
        write_record(made, record, overwrite=overwrite)
    if plot is not None:
        write_plot(made, plot, overwrite=overwrite)
    emit_json(made.as_data()) if as_json else show_trace(made, record, plot)


@app.command()
def relay(
    *,
    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="the server, a broker as a rule")],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="where clients connect instead; port 0 takes a free one")
    ] = "127.0.0.1:1884",
    link_name: Annotated[
        str | None, typer.Option("--link", metavar="LINK", help="as in `tamiyo run --link`; see `tamiyo link list`")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="a record of a link in its place")] = None,
    record: Annotated[Path | None, typer.Option(help="write what is decided to this file, a line a decision")] = None,
    speed: Annotated[float, typer.Option(help="seconds of the link to a real one")] = 1.0,
    cut_after_s: Annotated[
        float | None,
        typer.Option("--cut-after", help="outages longer than so many seconds (of the link) reset connections"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Put a link between real programs: a TCP relay that delays, paces and holds bytes as the link would.

    Ends with Ctrl-C or SIGTERM, and says what went through. Whoever can reach the port can use it.

    Examples:

      tamiyo link relay --to 127.0.0.1:1883 --link 'lte?distance_m=800&seed=3' --record lte.jsonl

      tamiyo link relay --to 127.0.0.1:1883 --replay lte.jsonl --speed 10
    """
    from tamiyo_runtime.cli.link_relay import RelayPlan, run_relay

    plan = RelayPlan(
        listen=listen,
        to=to,
        link=link_name,
        replay=replay,
        record=record,
        speed=speed,
        cut_after_s=cut_after_s,
        overwrite=overwrite,
    )
    run_relay(plan, as_json=as_json)
