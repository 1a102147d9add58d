"""How frames leave the device: transports by URL scheme, topic names, and a broker for a machine without one."""

from tamiyo_runtime.transport import memory as _memory  # fills the registry
from tamiyo_runtime.transport import mqtt as _mqtt  # fills the registry; the client library is imported on use
from tamiyo_runtime.transport import offline as _offline  # fills the registry
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.port import Transport, open_transport, transports
from tamiyo_runtime.transport.topics import Address, Channel

__all__ = ["Access", "Address", "Channel", "Transport", "open_transport", "transports"]

del _memory, _mqtt, _offline
