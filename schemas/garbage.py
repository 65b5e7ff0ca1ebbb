"""Garbage collection in the processes that take or move many events."""

import gc

# A batch is tens of thousands of objects that live until its commit; collecting them early is wasted work.
THRESHOLDS = (50_000, 50, 100)


def collect_rarely() -> None:
    """Let this process collect garbage rarely, and never among what exists now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
