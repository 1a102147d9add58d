"""What went through a relay: counted while it works, then shown."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.units import milliseconds, size

if TYPE_CHECKING:
    from simulators.relay.conditions import Figures
    from simulators.relay.medium import Decision, Medium, Outage
    from simulators.relay.record import Recorder
    from simulators.relay.service import Moment
    from tamiyo_runtime.cli.link_relay import RelayPlan

_MOST_DELAYS = 100_000  # the last ones, for the percentiles
_QUANTILES = {"median": 0.5, "95th_percentile": 0.95, "longest": 1.0}


class Witness:
    """Counts what is decided, for the summary, and has it recorded; told in the relay's thread."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self.pieces = self.repeats = self.lost = self.outages = 0
        self.outage_s = 0.0
        self.delays_s: deque[float] = deque(maxlen=_MOST_DELAYS)

    def tell(self, one: Decision | Outage) -> None:
        """Count it."""
        from simulators.relay.medium import Outage

        if self._recorder is not None:
            self._recorder.tell(one)
        if isinstance(one, Outage):
            self.outages += 1
            self.outage_s += one.ends_s - one.begins_s
            return
        self.pieces += 1
        self.repeats += one.tries - 1
        self.lost += one.lost
        self.delays_s.append(one.delay_s)


def summary(
    plan: RelayPlan, medium: Medium, figures: Figures, moment: Moment | None, witness: Witness
) -> dict[str, Any]:
    """For programs."""
    delays = sorted(witness.delays_s)
    quantiles = {name: delays[int(share * (len(delays) - 1))] for name, share in _QUANTILES.items()} if delays else None
    return {
        "link": medium.label,
        "simulated": True,
        "speed": plan.speed,
        "link_seconds": 0.0 if moment is None else moment.now_s,
        "connections": figures.connections,
        "reset": figures.cut,
        "refused_by_server": figures.refused,
        "bytes_up": figures.bytes_up,
        "bytes_down": figures.bytes_down,
        "pieces": witness.pieces,
        "sent_again": witness.repeats,
        "given_up": witness.lost,
        "outages": witness.outages,
        "outage_s": witness.outage_s,
        "delay_s": quantiles,
    }


def show_summary(data: dict[str, Any], plan: RelayPlan) -> None:
    """For people, and what to do next."""
    from tamiyo_runtime.cli.render import say

    say(f"went through  {size(data['bytes_up'])} up, {size(data['bytes_down'])} down, in {data['link_seconds']:.1f} s")
    refused = f", {data['refused_by_server']} refused by the server" if data["refused_by_server"] else ""
    say(f"connections   {data['connections']}, {data['reset']} reset{refused}")
    say(f"pieces        {data['pieces']}, {data['sent_again']} sent again, {data['given_up']} given up")
    if data["delay_s"] is not None:
        texts = [f"{milliseconds(1e3 * delay_s)} {name.replace('_', ' ')}" for name, delay_s in data["delay_s"].items()]
        say(f"delay         {', '.join(texts)} (of the link, simulated)")
    say(f"outages       {data['outages']}, {data['outage_s']:g} s in all")
    if plan.record is not None:
        say(f"record        {plan.record}")
        say(f"Next:  tamiyo link relay --listen {plan.listen} --to {plan.to} --replay {plan.record}")
