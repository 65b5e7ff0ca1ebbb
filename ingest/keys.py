"""API keys: whether a request has a known one, and its name for logs, records and metrics."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from schemas.faults import KeyRefused
from schemas.settings import Settings

HEADER: Final = b"x-api-key"
UNKNOWN: Final = "unknown"


class ApiKeys:
    """The keys that open the APIs, by their hashes: to look one up takes the same time for each wrong one."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._names = {_digest(key): f"settings-{number}" for number, key in enumerate(keys, 1)}

    def check(self, given: bytes | None) -> None:
        """Raise KeyRefused unless this is a known key."""
        if self.name_of(given) in (None, UNKNOWN):
            raise KeyRefused("Expected a valid API key in the header X-API-Key")

    def name_of(self, given: bytes | None) -> str | None:
        """Return the name of a key, `unknown` for a wrong one; None if there is no key."""
        key = given.decode("latin-1").strip() if given else ""
        return self._names.get(_digest(key), UNKNOWN) if key else None


def read_api_keys(settings: Settings) -> ApiKeys:
    """Return the keys of the settings, called by their place there. Raises NotReady if there are none."""
    return ApiKeys(settings.keys_of_api())


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
