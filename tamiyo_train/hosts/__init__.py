"""Base networks with numbered slots."""

from tamiyo_train.hosts.base import Host, hosts
from tamiyo_train.hosts.dsconv import DsConv

__all__ = ["DsConv", "Host", "hosts"]
