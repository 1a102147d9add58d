"""The slots on disk, and the record that says which of them runs.

    STATE_DIR/record             everything a device remembers, replaced in one step
    STATE_DIR/a/, STATE_DIR/b/   one bundle each: bundle.tamiyo, and chunks, the list it arrives by

Order is what makes a power cut harmless. The record says RECEIVING, durably, before the slot's file is touched; it
says STAGED after the file is durable and its hash is right; and the slot that runs is never written. So after a cut
at any point the record names a slot whose file is whole, and the same command given again goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tamiyo_runtime.contracts.errors import InputError, IntegrityError, TamiyoError
from tamiyo_runtime.files import lacks_space
from tamiyo_runtime.update import moves
from tamiyo_runtime.update.chunks import Chunks
from tamiyo_runtime.update.disk import Disk
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.record import LIMIT_BYTES, Record, other_slot
from tamiyo_runtime.update.states import IllegalMoveError, SlotState
from tamiyo_runtime.update.transfer import Receiver, hash_file

RECORD = "record"
BUNDLE = "bundle.tamiyo"
LIST = "chunks"
_LIST_LIMIT = 34 << 20

Verify = Callable[[str], Identity]
"""Opens the file of that name on the disk as a bundle; raises a TamiyoError when it is not to be trusted."""


class Store:
    """The state folder. Get one by ``open`` or ``create``; ``record`` is what is durably on disk."""

    def __init__(self, disk: Disk, record: Record) -> None:
        self._disk = disk
        self.record = record

    @classmethod
    def open(cls, disk: Disk) -> Store:
        """Read the record; raises InputError when there is none, IntegrityError when it is damaged."""
        size = disk.size(RECORD)
        if size is None:
            raise InputError("no record of updates here", hint="make one: tamiyo update init STATE_DIR")
        if size > LIMIT_BYTES:
            raise IntegrityError(f"the record of updates has {size} bytes", hint="restore it from a copy")
        return cls(disk, Record.from_bytes(disk.read(RECORD, 0, size)))

    @classmethod
    def create(cls, disk: Disk, record: Record) -> Store:
        """A new state folder; raises InputError when there is a record already."""
        if disk.size(RECORD) is not None:
            raise InputError("there is a record of updates already", hint="use another folder")
        store = cls(disk, record)
        store.commit(record)
        return store

    def commit(self, record: Record) -> None:
        """Replace the record: written beside, synced, renamed, the folder synced."""
        beside = f"{RECORD}.new"
        self._disk.write(beside, record.to_bytes())
        self._disk.sync(beside)
        self._disk.rename(beside, RECORD)
        self._disk.sync_folder("")
        self.record = record

    def begin(self, chunks: Chunks, *, again: bool = False) -> Receiver:
        """Start to receive a file into the idle slot, or go on with it when the slot waits for just that file.

        Raises what ``moves.begin`` raises.
        """
        slot, sha256 = self.record.slots[self.record.idle], chunks.sha256.hex()
        if slot.state is not SlotState.RECEIVING or slot.sha256 != sha256:
            self.commit(moves.begin(self.record, sha256=sha256, size_bytes=chunks.size_bytes, again=again))
        folder = self.record.idle
        self._disk.make_folder(folder)
        self._disk.sync_folder("")
        self._disk.write(f"{folder}/{LIST}", chunks.to_bytes())
        self._disk.sync(f"{folder}/{LIST}")
        if self._disk.size(self._file(folder)) != chunks.size_bytes:
            self._disk.resize(self._file(folder), chunks.size_bytes)
        self._disk.sync_folder(folder)
        return Receiver(self._disk, self._file(folder), chunks)

    def resume(self) -> Receiver | None:
        """The transfer that a restart interrupted; None when there is none, or its list did not survive."""
        name = self.record.idle
        slot, size = self.record.slots[name], self._disk.size(f"{name}/{LIST}")
        if slot.state is not SlotState.RECEIVING or size is None or size > _LIST_LIMIT:
            return None
        try:
            chunks = Chunks.from_bytes(self._disk.read(f"{name}/{LIST}", 0, size))
        except IntegrityError:
            return None
        whole = self._disk.size(self._file(name)) == chunks.size_bytes
        return Receiver(self._disk, self._file(name), chunks) if whole and chunks.sha256.hex() == slot.sha256 else None

    def finish(self, receiver: Receiver) -> None:
        """Every chunk is there: hash the whole and stage it.

        Raises InputError when chunks are missing, IntegrityError when the whole is not what was announced, which
        only a list of chunks that contradicts itself can bring about; the slot then waits for another transfer.
        """
        name = self.record.idle
        slot = self.record.slots[name]
        if not receiver.complete:
            missing = receiver.chunks.count - receiver.received
            raise InputError(f"{missing} of {receiver.chunks.count} chunks are missing", hint="send them")
        receiver.sync()
        if hash_file(self._disk, self._file(name), slot.size_bytes or 0) != slot.sha256:
            raise IntegrityError("the chunks do not add up to the file that was announced", hint="send the list again")
        self._disk.sync_folder(name)  # `begin` may have been killed before it came to this
        self.commit(moves.complete(self.record))

    def verify(self, verify: Verify) -> None:
        """Open what was staged. What is refused is rejected for good, and the error raised."""
        name = self.record.idle
        try:
            accepted = moves.accept(self.record, verify(self._file(name)))
        except IllegalMoveError:
            raise
        except TamiyoError as exc:
            if exc.exit_code is not IntegrityError.exit_code:
                raise  # a library that is missing, a disk that cannot be read: no fault of the bundle
            self.commit(moves.refuse(self.record, exc.message))
            raise
        self.commit(accepted)

    def switch(self) -> None:
        """What was verified runs from the next start on."""
        name = self.record.idle
        if not self._whole(name):
            self.commit(moves.refuse(self.record, "damaged after it was verified"))
            raise IntegrityError("the verified bundle is no longer what it was", hint="apply it again")
        self.commit(moves.switch(self.record))

    def confirm(self) -> None:
        """What runs has passed its trial."""
        self.commit(moves.confirm(self.record))

    def fail(self, reason: str, *, allow_downgrade: bool = False) -> None:
        """Give up what runs for the other slot; raises IntegrityError when that is damaged, and what moves raises."""
        failed = moves.fail(self.record, reason, allow_downgrade=allow_downgrade)
        if not self._whole(str(failed.running)):
            raise IntegrityError("the other slot's bundle is damaged", hint="apply another bundle instead")
        self.commit(failed)

    def start(self) -> Started:
        """To be called before the runtime starts: the file to run, counted on a trial, its hash checked.

        A trial that was started too often goes back, and so does a file that no longer has its hash. On a full disk
        that holds for this start and is not written down. Raises
        InputError before the first bundle, IntegrityError when no slot is left that is whole.
        """
        if self.record.running is None:
            raise InputError("no bundle was applied yet", hint="tamiyo update apply STATE_DIR BUNDLE")
        counted = moves.started(self.record)
        reason: str | None = None
        if counted.running != self.record.running:
            reason = counted.slots[self.record.running].reason
        name = str(counted.running)
        if not self._whole(name):
            reason = f"the file in slot {name} is damaged"
            back = counted.slots[other_slot(name)]
            if back.state is not SlotState.CONFIRMED or not self._whole(other_slot(name)):
                raise IntegrityError(f"{reason}, and there is nothing to go back to", hint="apply a bundle again")
            counted = moves.fail(counted, reason, allow_downgrade=True)
        untold: str | None = None
        if counted is not self.record:
            try:
                self.commit(counted)
            except InputError as exc:
                if not lacks_space(exc):
                    raise
                self.record, untold = counted, exc.message
        return Started(file=self._file(str(counted.running)), went_back=reason, untold=untold)

    def _whole(self, name: str) -> bool:
        slot = self.record.slots[name]
        return slot.sha256 is not None and hash_file(self._disk, self._file(name), slot.size_bytes or 0) == slot.sha256

    @staticmethod
    def _file(slot: str) -> str:
        return f"{slot}/{BUNDLE}"


@dataclass(frozen=True, slots=True)
class Started:
    """What to run: a name on the disk. ``went_back`` says why it is not what ran before, None when it is.

    ``untold``: why the record on the disk does not know of this start.
    """

    file: str
    went_back: str | None
    untold: str | None = None
