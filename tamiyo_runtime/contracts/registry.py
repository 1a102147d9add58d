"""One mechanism for every plug-in: targets, interpreters, links, transports, sources, blueprints, stages.

A registry is a named table filled by a decorator. A duplicate is an error, an unknown name raises
with near names, and packages that are installed can add entries through the entry-point group
``tamiyo.<kind>``, read at the first look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from tamiyo_runtime.contracts.errors import TamiyoError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table name -> item of one ``kind``; ``noun`` is what a user calls one, the kind's singular if not given.

    >>> links: Registry[type] = Registry("link")
    >>> @links.register("perfect")
    ... class Perfect: ...
    >>> links.get("perfect") is Perfect
    True
    """

    def __init__(self, kind: str, *, noun: str | None = None) -> None:
        self.kind = kind
        self.noun = noun or kind.removesuffix("s")
        self._items: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an item under ``name``; raises TamiyoError when the name is taken."""

        def add(item: T) -> T:
            if name in self._items:
                raise TamiyoError(
                    f"{self.kind} '{name}' is registered twice",
                    hint=f"first by {self._items[name]!r}; give one of them another name",
                )
            self._items[name] = item
            return item

        return add

    def get(self, name: str) -> T:
        """The item of that name; raises UnknownNameError with near names."""
        self._discover()
        try:
            return self._items[name]
        except KeyError:
            raise UnknownNameError(self.noun, name, self._items) from None

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        self._discover()
        return tuple(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._items

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter((name, self._items[name]) for name in self.names())

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # before loading: a plug-in may look things up while it registers
        for point in entry_points(group=f"tamiyo.{self.kind}"):
            self.register(point.name)(point.load())
