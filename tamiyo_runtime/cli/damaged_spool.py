"""When a card has lost pages of the spool, and a run finds out: the file makes way, and the next start works.

A spool that cannot be opened is set aside by `open_telemetry`; this is for one that fails later.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from tamiyo_runtime.cli.render import note
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.spool_file import set_aside

if TYPE_CHECKING:
    from tamiyo_runtime.session import Session
    from tamiyo_runtime.summary import SessionSummary
    from tamiyo_runtime.telemetry import Telemetry


def served(session: Session, spool: Path) -> SessionSummary:
    """Run a session; raises TamiyoError, the file having been set aside, when the spool turns out to be damaged."""
    try:
        return session.run()
    except sqlite3.OperationalError:  # a full disk, say: the spool's own business
        raise
    except sqlite3.DatabaseError as exc:
        aside = set_aside(spool)
        hint = "start again: it begins with a new one"
        raise TamiyoError(f"the spool was damaged ({exc}) and is now {aside}", hint=hint) from exc


def close(telemetry: Telemetry) -> None:
    """Close telemetry; a damaged spool is worth a warning, no more."""
    try:
        telemetry.close()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as exc:
        note(f"warning: the spool was damaged: {exc}")
