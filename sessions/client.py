"""The device of a session, its place and its API key's name: what the ingest found in its sessionStart's request.

A denial of consent, whichever event has it, leaves the kind of device, the country and the key.
"""

from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import asdict

from schemas.client import UNKNOWN_CLIENT, Client

TEXT_CHARACTERS_MAX = 64  # what our ingest writes is shorter; another producer may write anything
SHARED_MAX = 10_000

_decode = msgspec.json.Decoder(Client).decode


@lru_cache(maxsize=SHARED_MAX)
def read_client(text: bytes | None) -> Client:
    """Return what a sessionStart says of its sender, by JSON as the lake keeps it; one object for equal ones."""
    if text is None:
        return UNKNOWN_CLIENT
    known = {name: value for name, value in asdict(_decode(text)).items() if _is_short(value)}
    return Client(**known)


def facts_of_client(client: Client, *, denied: bool) -> dict[str, Any]:
    """Return it by the names of `SessionFacts`."""
    facts = asdict(client.without_consent() if denied else client)
    del facts["key_name"]  # the site of a session that names none
    return facts


def _is_short(value: Any) -> bool:
    return type(value) is not str or 0 < len(value) <= TEXT_CHARACTERS_MAX
