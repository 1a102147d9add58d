"""Time, work and what work costs: the ports between the runtime's core and a board, real or simulated.

The core never asks the operating system for the time. It gets a `Clock` and a `Board`; a real board times the work and
measures its energy where there is a meter, else estimates it from the profile; a simulated one advances a virtual
clock by what its model says. Both say where each figure comes from.
"""

from tamiyo_runtime.meters.clock import Clock, MonotonicClock, VirtualClock
from tamiyo_runtime.meters.found import Meters, find_meters
from tamiyo_runtime.meters.host import HostBoard, MeteredBoard, host_board, read_status
from tamiyo_runtime.meters.ports import Board, BoardStatus, Usage

__all__ = [
    "Board",
    "BoardStatus",
    "Clock",
    "HostBoard",
    "MeteredBoard",
    "Meters",
    "MonotonicClock",
    "Usage",
    "VirtualClock",
    "find_meters",
    "host_board",
    "read_status",
]
