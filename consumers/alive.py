"""Whether a worker still works: a file for those who look from outside, and an end to a worker that hangs."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Final

import structlog

from schemas.settings import Settings
from schemas.trace import place_of

HUNG_STATUS: Final = 4
TICK_S: Final = 1.0

logger = structlog.get_logger(__name__)


class Alive:
    """Is told of each step of a worker. One without a step for too long ends the process: others start it again.

    Ticks of a thread are counted, and not the clock: a process that was frozen has not hung when it goes on.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = settings.worker_alive_file
        self._hung_s = settings.worker_hung_s
        self._ticks = 0
        self._waits = 0

    def touch(self) -> None:
        """Note a step."""
        self._ticks = 0
        if self._file is not None:
            self._file.touch()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the steps until the end of the block."""
        is_over = threading.Event()
        if self._hung_s:
            threading.Thread(target=self._watch, args=(is_over,), name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            is_over.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Make no step during the block: what another process does takes as long as it takes."""
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            self._ticks = 0

    def _watch(self, is_over: threading.Event) -> None:
        while not is_over.wait(TICK_S):
            self._ticks = 0 if self._waits else self._ticks + 1
            if self._ticks * TICK_S > self._hung_s:
                logger.critical("hung", without_step_s=self._hung_s, threads=_threads())
                os._exit(HUNG_STATUS)


def _threads() -> dict[str, str]:
    """Return where each thread is, by its name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {names.get(ident, str(ident)): place_of(frame) for ident, frame in sys._current_frames().items()}
