"""`playhead session show`: prints one session."""

import msgspec

from lake.catalog import location
from lake.one_session import describe, show
from schemas.settings import Settings


def print_session(settings: Settings, prefix: str, *, as_json: bool) -> None:
    """Print the session whose id begins with `prefix`. Raises NoSuchSession unless exactly one does."""
    timeline = show(location(settings), prefix, length_ms=int(settings.session_length_s * 1000))
    if as_json:
        print(msgspec.json.encode(timeline).decode())  # noqa: T201
    else:
        print("\n".join(describe(timeline)))  # noqa: T201
