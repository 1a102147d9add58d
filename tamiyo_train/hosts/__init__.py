"""Base networks with numbered slots."""

from tamiyo_train.hosts import attention1d, causal1d, conv1d, dsconv, mlp, pairs  # noqa: F401  (they register themselves)
from tamiyo_train.hosts.base import Host, hosts, made

__all__ = ["Host", "hosts", "made"]
