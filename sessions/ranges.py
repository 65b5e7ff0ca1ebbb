"""Ranges of content and how often each was played."""

from collections.abc import Sequence

Range = tuple[float, float, int]  # from, to, passes


def count_passes(ranges: Sequence[Range]) -> list[Range]:
    """Return the same plays as ranges that do not overlap, in order, each with its number of passes.

    No range is empty. Neighbours played equally often are one range.
    """
    if len(ranges) == 1:
        return [*ranges]
    changes: dict[float, int] = {}
    for low, high, passes in ranges:
        changes[low] = changes.get(low, 0) + passes
        changes[high] = changes.get(high, 0) - passes
    counted: list[Range] = []
    since, passes = 0.0, 0
    for at in sorted(changes):
        if not changes[at]:
            continue
        if passes:
            counted.append((since, at, passes))
        since, passes = at, passes + changes[at]
    return counted


def clip(ranges: list[Range], end: float | None) -> list[Range]:
    """Return the ranges as far as they lie between 0 and `end` (None: no end)."""
    if end is None:
        return ranges
    return [(low, min(high, end), passes) for low, high, passes in ranges if low < end]


def join_nearest(ranges: list[Range]) -> tuple[list[Range], float]:
    """Make one of those two neighbours that cost least; return the ranges, and the gap that is filled.

    The cost is the gap, and the length of the shorter where they were played differently often; the one has the
    passes that come nearest to what was played. At least two ranges, in order, that do not overlap.
    """

    def cost(at: int) -> float:
        (low, high, passes), (next_low, next_high, next_passes) = ranges[at], ranges[at + 1]
        return next_low - high + (0.0 if passes == next_passes else min(high - low, next_high - next_low))

    at = min(range(len(ranges) - 1), key=cost)
    (low, high, passes), (next_low, next_high, next_passes) = ranges[at], ranges[at + 1]
    played_s = (high - low) * passes + (next_high - next_low) * next_passes
    joined = (low, next_high, max(1, round(played_s / (next_high - low))))
    return [*ranges[:at], joined, *ranges[at + 2 :]], next_low - high
