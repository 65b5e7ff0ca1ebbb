"""API keys: whether a request has one that opens an API, and its name for logs, records and metrics.

Named keys are in a file, which is read again when it has changed: it is looked at when a key is presented, at most
once a second.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from schemas.faults import KeyRefused, NotReady
from schemas.named_keys import OF_SETTINGS, SCOPES, UNKNOWN, NamedKey, Scope, hash_of_key, read_named_keys
from schemas.settings import Settings

HEADER: Final = b"x-api-key"
LOOK_EVERY_S: Final = 1.0

logger = structlog.get_logger(__name__)


class ApiKeys:
    """The keys that open the APIs, by their hashes: to look one up takes the same time for each wrong one.

    Raises NotReady if the file cannot be read. Later, the keys of before stay where it cannot be read, or is gone.
    """

    def __init__(self, of_settings: Iterable[str], file: Path, *, monotonic_s: Callable[[], float]) -> None:
        self._of_settings = {hash_of_key(key): _of_setting(key, n) for n, key in enumerate(of_settings, 1)}
        self._file = file
        self._monotonic_s = monotonic_s
        self._looked_s = monotonic_s()
        self._mark = _mark(file)
        self._by_hash = self._with(read_named_keys(file))

    def are_any(self) -> bool:
        """Return whether any key opens anything."""
        return any(not key.is_revoked for key in self._by_hash.values())

    def check(self, given: bytes | None, api: Scope) -> None:
        """Raise KeyRefused unless this key opens that API."""
        key = self._find(given)
        if key is None or key.is_revoked:
            raise KeyRefused("Expected a valid API key in the header X-API-Key")
        if api not in key.scopes:
            raise KeyRefused(f"Expected an API key with the scope {api} in the header X-API-Key")

    def name_of(self, given: bytes | None) -> str | None:
        """Return the name of a key, a revoked one's too, `unknown` for a wrong one; None if there is no key."""
        if not given or not given.strip():
            return None
        key = self._find(given)
        return UNKNOWN if key is None else key.name

    def sender(self, given: bytes | None) -> str | None:
        """Return the name that an operator gave to a key of the media API that is valid; None for any other."""
        key = self._find(given)
        if key is None or key.is_revoked or "media" not in key.scopes or key.name.startswith(OF_SETTINGS):
            return None
        return key.name

    def _find(self, given: bytes | None) -> NamedKey | None:
        if not given:
            return None
        now_s = self._monotonic_s()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        return self._by_hash.get(hash_of_key(given.decode("latin-1").strip()))

    def _look(self) -> None:
        """Read the file again if it has changed."""
        mark = _mark(self._file)
        if mark == self._mark:
            return
        self._mark = mark
        if mark is None:
            logger.error("named API keys not read", error=f"{self._file} is gone; the keys of before stay")
            return
        try:
            self._by_hash = self._with(read_named_keys(self._file))
        except NotReady as fault:
            logger.error("named API keys not read", error=f"{fault}; the keys of before stay")
        else:
            logger.info("named API keys read", keys=len(self._by_hash) - len(self._of_settings))

    def _with(self, named: Iterable[NamedKey]) -> dict[str, NamedKey]:
        return {**{key.sha256: key for key in named}, **self._of_settings}


def read_api_keys(settings: Settings, *, monotonic_s: Callable[[], float]) -> ApiKeys:
    """Return the keys of the settings and of the file. Raises NotReady if there are none."""
    of_settings = [] if settings.api_keys is None else settings.keys_of_api()
    keys = ApiKeys(of_settings, settings.file_of_named_keys, monotonic_s=monotonic_s)
    if not keys.are_any():
        settings.keys_of_api()
    return keys


def _of_setting(key: str, number: int) -> NamedKey:
    return NamedKey(f"{OF_SETTINGS}{number}", hash_of_key(key), SCOPES, datetime.min.replace(tzinfo=UTC))


def _mark(file: Path) -> tuple[int, int, int] | None:
    """Return what is another once a file has changed; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
