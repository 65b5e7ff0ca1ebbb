"""A record that was read, by which a log is known again; whether a log is the one that the lake has read. Pure.

The ledger keeps such a mark. It is compared with the log whenever a partition is assigned, and every few seconds.
A newer record becomes the mark only after a comparison that began when that record had been read already: had the
log been replaced before, the older mark would not have been found. So no record of a log in the place of another
becomes the mark, however short the time between the two.
"""

import hashlib

import msgspec

from eventlog import Record, View
from schemas.faults import LogReplaced

DIGEST_BYTES = 16


class Mark(msgspec.Struct, frozen=True):
    """A record that was read. `offset` is the lake's; `appended_ms` is the log's own clock, since 1970."""

    offset: int
    appended_ms: int
    digest: str

    @classmethod
    def of(cls, record: Record, *, base: int) -> "Mark":
        """Return the mark of a record, in a log to whose offsets the lake adds `base`."""
        digest = hashlib.blake2b(len(record.key).to_bytes(8, "little"), digest_size=DIGEST_BYTES)
        digest.update(record.key)
        digest.update(record.value)
        return cls(record.offset + base, record.appended_ms, digest.hexdigest())


def replaced(
    partition: int, *, mark: Mark | None, base: int, log_id: str | None, view: View
) -> LogReplaced | None:
    """Return the fault where a log is another one than the lake has read, as its name or its records show.

    A mark that the log has no record for shows nothing: retention took it, or the log is shorter than it was,
    which its reader notices. `view` is of the mark's offset.
    """
    if log_id is not None and view.log_id is not None and log_id != view.log_id:
        return LogReplaced(partition, f"it is {view.log_id}, and the lake has read {log_id}")
    if mark is None or view.record is None:
        return None
    found = Mark.of(view.record, base=base)
    if found == mark:
        return None
    return LogReplaced(
        partition, f"the record at offset {view.record.offset} is not the one that the lake has read"
    )
