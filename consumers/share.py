"""Limits one kind of work to a share of the time, so that much of it cannot block the rest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Share:
    """Work of one kind is done when it is due, and after it the rest has its turn before the next.

    `part` of the time at most, on the monotonic clock `clock_s`; 1.0 is as much as there is to do.
    """

    def __init__(self, part: float, *, clock_s: Callable[[], float]) -> None:
        self._part = part
        self._clock_s = clock_s
        self._free_at_s = clock_s()

    def is_free(self) -> bool:
        """Return whether more of the work may begin."""
        return self._clock_s() >= self._free_at_s

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Measure the work of a `with` block; the next may begin when the rest has had its share."""
        began_s = self._clock_s()
        try:
            yield
        finally:
            ended_s = self._clock_s()
            self._free_at_s = ended_s + (ended_s - began_s) * (1 / self._part - 1)
