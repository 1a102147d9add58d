"""A device with a few releases and orders to go through: the same story for cut power, killed processes and commands.

The story looks at nothing but the record to find out where it is, as a device does after a restart.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Estimate, Source
from tamiyo_runtime.contracts.document import canonical_json
from tamiyo_runtime.signing import SigningKey, Trust
from tamiyo_runtime.update import commands
from tamiyo_runtime.update.apply import identity_of, install, list_of
from tamiyo_runtime.update.commands import Command
from tamiyo_runtime.update.disk import Disk
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.record import Record, Role, TrustedKey, new_record
from tamiyo_runtime.update.store import RECORD, Store
from tests import tiny

FACTORY, OFFICE, STRANGER = (SigningKey(bytes(range(start, start + 32))) for start in (0, 50, 100))
NOW_S = 1_800_000_000
CHUNK_BYTES = 2048


def trusted(key: SigningKey, *roles: Role) -> TrustedKey:
    return TrustedKey(public=key.public.raw.hex(), roles=roles)


def fresh(device: str = "pump-7") -> Record:
    """A device without a bundle, that obeys the office and runs what the factory made."""
    return new_record(device, "pumps", (trusted(FACTORY, Role.BUNDLE), trusted(OFFICE, Role.COMMAND)))


def order(counter: int = 1, key: SigningKey = OFFICE, **what: object) -> bytes:
    """A signed order for the fleet unless ``device`` says otherwise."""
    target = {} if "device" in what else {"fleet": "pumps"}
    head = {"schema": commands.SCHEMA, "counter": counter, "not_before_s": NOW_S, "expires_s": NOW_S + 3600}
    return _sealed(canonical_json(Command(**{**head, **target, **what})), key)  # type: ignore[arg-type]


@functools.cache
def _sealed(document: bytes, key: SigningKey) -> bytes:
    return key.sign(document, payload_type=commands.PAYLOAD_TYPE)


def release(folder: Path, version: int, *, key: SigningKey = FACTORY) -> Path:
    """A signed bundle of that version."""
    made, path = tiny.make(variants=("float",), policy=False), folder / f"tiny-{version}.tamiyo"
    write_bundle(path, replace(made.manifest, version=version), made.files, key, overwrite=True)
    return path


def patient_release(folder: Path, version: int, *, latency_ms: float = 500.0) -> Path:
    """A release that says of every configuration that it takes so long, with twice as much time for an answer.

    Half a second is enough on the busiest machine; a microsecond is on none.
    """
    estimate = Estimate(value=latency_ms, low=latency_ms, high=latency_ms, source=Source.ANALYTIC)
    made = tiny.make(variants=("float",), policy=False, budget=Budget(latency_ms=2 * latency_ms))
    variants = tuple(
        replace(v, runnables=tuple(replace(r, cost=replace(r.cost, latency_ms=estimate)) for r in v.runnables))
        for v in made.manifest.variants
    )
    path = folder / f"patient-{version}.tamiyo"
    write_bundle(path, replace(made.manifest, version=version, variants=variants), made.files, FACTORY, overwrite=True)
    return path


@functools.cache
def _identity(sha256: str, data: bytes) -> Identity:
    return identity_of(Bundle.parse(data, name=sha256, trusted=Trust.of(FACTORY.public)))


def opened(disk: Disk, name: str) -> Identity:
    """Verify a bundle on a disk. The answer depends on the bytes alone, so the same bytes are opened once."""
    data = disk.read(name, 0, disk.size(name) or 0)
    return _identity(hashlib.sha256(data).hexdigest(), data)


@dataclass
class Story:
    """Version 1 is installed, 2 passes its trial, 3 fails it, and an order switches the policy off."""

    releases: tuple[Path, Path, Path]
    store: Store | None = None

    @classmethod
    def tell(cls, folder: Path) -> Story:
        one, two, three = (release(folder, version) for version in (1, 2, 3))
        return cls((one, two, three))

    def go_on(self, disk: Disk) -> Record:
        """From wherever it is to the end."""
        one, two, three = self.releases
        store = self.store = Store.create(disk, fresh()) if disk.size(RECORD) is None else Store.open(disk)
        if store.record.running is None:
            self._install(store, disk, one)
        if self._highest(store.record) < 2:
            if not store.record.on_trial:
                self._install(store, disk, two)
            self._start_once(store)
            store.confirm()
        if list_of(three).sha256.hex() not in store.record.rejected:
            if not store.record.on_trial:
                self._install(store, disk, three)
            self._start_once(store)
            store.fail("it failed")
        decision = commands.decide(order(policy=False), store.record, NOW_S)
        if decision.refusal is not commands.Refusal.COUNTER:
            store.commit(decision.record)
        return store.record

    @staticmethod
    def _start_once(store: Store) -> None:
        """A device whose power fails at every start goes back after a few: that is another story."""
        if store.record.starts == 0:
            store.start()

    @staticmethod
    def _install(store: Store, disk: Disk, path: Path) -> None:
        install(store, path, lambda name: opened(disk, name), chunk_bytes=CHUNK_BYTES)

    @staticmethod
    def _highest(record: Record) -> int:
        return record.highest(FACTORY.public.id, "tiny")

    def check_end(self, record: Record) -> None:
        """Where every telling of the story must end, however often it was interrupted."""
        assert record.running is not None
        assert record.slots[record.running].version == 2
        assert not record.on_trial
        assert self._highest(record) == 2
        assert record.slots[record.idle].reason == "it failed"
        assert not record.policy
        assert record.counters == {OFFICE.public.id: 1}
