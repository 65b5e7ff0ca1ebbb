"""Whether a log is the one that the lake has read, recognized by a record that was read. Pure.

The ledger keeps such a mark. It is compared with the log when a partition is assigned, and every few seconds. A
newer record becomes the mark only after a comparison that began after that record was read: if the log had been
replaced before, the older mark would not have been found. So a record of a replacement log never becomes the mark,
however quickly the log was replaced.
"""

import hashlib

import msgspec

from eventlog import Record, View
from schemas.faults import LogReplaced

DIGEST_BYTES = 16


class Mark(msgspec.Struct, frozen=True):
    """A record that was read. `offset` is the lake's; `appended_ms` is by the log's clock, since 1970."""

    offset: int
    appended_ms: int
    digest: str

    @classmethod
    def of(cls, record: Record, *, base: int) -> "Mark":
        """Return the mark of a record; `base` is what the lake adds to the log's own offsets."""
        digest = hashlib.blake2b(len(record.key).to_bytes(8, "little"), digest_size=DIGEST_BYTES)
        digest.update(record.key)
        digest.update(record.value)
        return cls(record.offset + base, record.appended_ms, digest.hexdigest())


def replaced(
    partition: int, *, mark: Mark | None, base: int, log_id: str | None, view: View
) -> LogReplaced | None:
    """Return a fault if the log's id or record shows that it is not the one that the lake has read, else None.

    If the log has no record at the mark, nothing is known: retention may have dropped it, or the log may be
    shorter than it was, which its reader notices. `view` is of the mark's offset.
    """
    if log_id is not None and view.log_id is not None and log_id != view.log_id:
        return LogReplaced(partition, f"its id is {view.log_id}, and the lake has read {log_id}")
    if mark is None or view.record is None:
        return None
    found = Mark.of(view.record, base=base)
    if found == mark:
        return None
    return LogReplaced(
        partition, f"the record at offset {view.record.offset} is not the one that the lake has read"
    )
