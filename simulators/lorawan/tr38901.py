"""The path losses of 3GPP TR 38.901, filed for LoRa: `simulators.cellular.pathloss` at LoRa's frequencies.

Whole fleets with or without line of sight; the report's own antenna heights, so those of the site do not count. Nearer
than 10 m counts as 10 m; beyond the report's range is refused.
"""

from __future__ import annotations

from simulators.cellular.pathloss import Scenario, path_loss_db
from simulators.lorawan.propagation import PathLoss, Site, path_losses
from simulators.lorawan.streams import Floats
from tamiyo_runtime.contracts.errors import InputError

_NEAREST_M = 10.0


def tr38901(where: Scenario, *, los: bool) -> PathLoss:
    """A path loss of one scenario; it raises InputError for distances beyond the report's range."""

    def model(distance_m: Floats, site: Site) -> Floats:
        distances = distance_m.clip(min=_NEAREST_M)
        try:
            return path_loss_db(where, distances, site.frequency_hz / 1e9, los=los)
        except ValueError as error:
            raise InputError(str(error), hint="bring devices and gateways nearer, or take okumura-hata-*") from error

    return model


for _where in Scenario:
    path_losses.register(f"tr38901-{_where}-los")(tr38901(_where, los=True))
    path_losses.register(f"tr38901-{_where}-nlos")(tr38901(_where, los=False))
