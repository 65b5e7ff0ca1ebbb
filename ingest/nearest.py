"""The known name that somebody probably meant: of an event type or of a key."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

from ingest.names import squash

CHARACTERS_MAX: Final = 64
KEYS_MAX: Final = 64
LIKENESS_MIN: Final = 0.74


class KnownNames:
    """Names that are known, and words for them that are in use elsewhere (`aliases`, squashed)."""

    def __init__(self, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self.names = tuple(names)
        self._of_squashed = {**(aliases or {}), **{squash(name): name for name in self.names}}

    def nearest(self, name: str) -> str | None:
        """Return the known name that was probably meant, None if there is no such name."""
        if len(name) > CHARACTERS_MAX:
            return None
        whole = squash(name)
        for spelling in (whole, whole.removeprefix("media"), "media" + whole, whole.removesuffix("event")):
            if spelling in self._of_squashed:
                return self._of_squashed[spelling]
        near = difflib.get_close_matches(whole, self._of_squashed, n=1, cutoff=LIKENESS_MIN)
        return self._of_squashed[near[0]] if near else None


def key_meant(wanted: str, keys: Iterable[str], *, aliases: Iterable[str] = ()) -> str | None:
    """Return the one of an object's keys that was probably meant as the wanted one; None if there is none."""
    squashed: dict[str, str] = {}
    for key, _ in zip(keys, range(KEYS_MAX), strict=False):
        if len(key) <= CHARACTERS_MAX and key != wanted:
            squashed.setdefault(squash(key), key)
    for spelling in (squash(wanted), *aliases):
        if spelling in squashed:
            return squashed[spelling]
    near = difflib.get_close_matches(squash(wanted), squashed, n=1, cutoff=LIKENESS_MIN)
    return squashed[near[0]] if near else None
