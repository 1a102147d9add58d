"""What a link will do, made, shown and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.errors import SchemaError, UsageError
from tamiyo_runtime.contracts.units import milliseconds

if TYPE_CHECKING:
    from simulators.relay.foretell import Outlook, Probe
    from simulators.relay.medium import Decision, Outage

_ROWS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A link's name and label, what was asked, what came, and that in figures."""

    link: str
    label: str
    probe: Probe
    entries: tuple[Decision | Outage, ...]
    outlook: Outlook

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """In the order of their offers."""
        from simulators.relay.medium import Decision

        return tuple(one for one in self.entries if isinstance(one, Decision))

    @property
    def outages(self) -> tuple[Outage, ...]:
        """In order."""
        from simulators.relay.medium import Outage

        return tuple(one for one in self.entries if isinstance(one, Outage))

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "link": self.link,
            "label": self.label,
            "simulated": True,
            **dump(self.probe),
            "outlook": dump(self.outlook),
            "outages": [dump(one) for one in self.outages],
            "decisions": [dump(one) for one in self.decisions],
        }


def trace_of(name: str, *, seconds: float, every_s: float, size_bytes: int) -> Trace:
    """Ask a link; raises UnknownNameError, and UsageError for options and figures out of range."""
    from simulators.links import open_link
    from simulators.relay.foretell import Probe, foretell, outlook
    from simulators.relay.medium import LinkMedium

    medium = LinkMedium(open_link(name))
    try:
        probe = Probe(seconds=seconds, every_s=every_s, size_bytes=size_bytes)
    except SchemaError as exc:
        option = {"seconds": "--seconds", "every_s": "--every", "size_bytes": "--bytes"}[exc.path]
        raise UsageError(exc.message.replace(exc.path, option, 1), hint="as in --seconds 60 --every 1") from exc
    entries = tuple(foretell(medium, probe))
    return Trace(
        link=name,
        label=medium.label,
        probe=probe,
        entries=entries,
        outlook=outlook(entries, seconds),
    )


def write_record(trace: Trace, path: Path, *, overwrite: bool) -> None:
    """As a relay would have; raises InputError when it cannot be written."""
    from simulators.relay.record import written
    from tamiyo_runtime.files import write_atomic_text

    text = written(link=trace.link, label=trace.label, speed=1.0, entries=trace.entries)
    write_atomic_text(path, text, overwrite=overwrite)


def write_plot(trace: Trace, path: Path, *, overwrite: bool) -> None:
    """As SVG; raises InputError when it cannot be written, MissingExtraError without matplotlib."""
    from tamiyo_runtime.cli.report.plots import delays
    from tamiyo_runtime.files import write_atomic_text

    if path.suffix != ".svg":
        raise UsageError(f"--plot {path} is not an .svg", hint="the only format there is")
    text = delays(
        [one.at_s for one in trace.decisions],
        [1e3 * one.delay_s for one in trace.decisions],
        [(one.begins_s, one.ends_s) for one in trace.outages],
        trace.label,
    )
    write_atomic_text(path, text, overwrite=overwrite)


def show_trace(trace: Trace, record: Path | None, plot: Path | None) -> None:
    """Figures, outages, and the first pieces."""
    from tamiyo_runtime.cli.render import say, table

    seen = trace.outlook
    say(f"link     {trace.label}")
    say(f"asked    {trace.probe.size_bytes} bytes every {trace.probe.every_s:g} s, for {trace.probe.seconds:g} s")
    say(f"pieces   {seen.pieces}, {seen.repeats} sent again, {seen.lost} given up")
    say(f"rate     {seen.bytes_per_s:.4g} bytes/s arrived")
    if seen.delay_p50_s is not None and seen.delay_p95_s is not None and seen.delay_max_s is not None:
        parts = [seen.delay_p50_s, seen.delay_p95_s, seen.delay_max_s]
        say("delay    {} median, {} 95th percentile, {} longest".format(*(milliseconds(1e3 * part) for part in parts)))
    spans = ", ".join(f"{one.begins_s:g} to {one.ends_s:g} s" for one in trace.outages[:_ROWS])
    more = f", and {len(trace.outages) - _ROWS} more" if len(trace.outages) > _ROWS else ""
    say(f"outages  {f'{seen.outage_share:.1%} of the time: {spans}{more}' if trace.outages else 'none'}")
    say()
    rows = [
        [f"{one.at_s:.3f}", one.size_bytes, f"{one.start_s:.3f}", f"{one.arrives_s:.3f}", one.tries, one.lost or None]
        for one in trace.decisions[:_ROWS]
    ]
    table(["offered, s", "bytes", "starts, s", "arrives, s", "tries", "given up"], rows)
    if len(trace.decisions) > _ROWS:
        say(f"and {len(trace.decisions) - _ROWS} more: --json prints all")
    for path in (record, plot):
        if path is not None:
            say(f"written: {path}")
    say()
    followed = f"--replay {record}" if record else f"--link '{trace.link}'"
    say(f"Next:  tamiyo link relay --to 127.0.0.1:1883 {followed}")
