"""What is wrong with a path: a session id that the client did not read, or a route that nobody serves."""

import difflib
import re
from collections.abc import Iterable
from typing import Final

from ingest.incoming import EVENTS, SESSIONS
from schemas.paths import quote

CHARACTERS_MAX: Final = 160
LIKENESS_MIN: Final = 0.7
ID_CHARACTERS: Final = 64
NO_PATH: Final = "Nothing lives at this path"
NOT_READ: Final = "the header Location of the reply to the sessionStart was not read, or not yet"
NO_SESSION: Final = "No session has this id; start a new session"

# What a client makes of an id that it does not have.
_not_read = re.compile(
    r"|undefined|null|none|nil|nan|true|false|\[object.*|[{:<$%].*|session_?id|sid|[a-z]*_?id", re.IGNORECASE
).fullmatch
_ends_unread = re.compile(r".*(?:undefined|null|\[object object\])", re.IGNORECASE | re.DOTALL).fullmatch
_id_in_path = re.compile(r"(?<=/sessions/)[^/]+|(?<=/playouts/)(?!tracking/session)[^/]+").sub
_parameter = re.compile(r"\{(\w+)(?::\w+)?\}").sub


def why_unknown(session_id: str) -> str:
    """Return why a session id in a path is none of ours."""
    if _not_read(session_id):
        return (
            f"Expected the id of a session in the path, got {quote(session_id)}: {NOT_READ}; start a new session"
        )
    if "/" in session_id or session_id.startswith(("http", "api")):
        return (
            "Expected the id of a session in the path, got a whole path or address: Location already begins with "
            "/api/v1/sessions/; start a new session"
        )
    if len(session_id) != ID_CHARACTERS:
        return f"{NO_SESSION}: ids have {ID_CHARACTERS} characters, this one has {len(session_id)}"
    if session_id != session_id.lower():
        return f"{NO_SESSION}: ids are in lower case"
    return NO_SESSION


def why_no_route(path: str, known: Iterable[str]) -> str:
    """Return the message for a path that nobody serves, with the path that was probably meant."""
    if (misread := _of_location(path)) is not None:
        return f"{NO_PATH}: {misread}; events are posted to {EVENTS}"
    near = nearest_path(path, known)
    if near is None:
        return f"{NO_PATH}; a sessionStart is posted to {SESSIONS}, and /schema lists those there are"
    if near.endswith("/events"):
        return f"{NO_PATH}; events are posted to {near}"
    return f"{NO_PATH}; did you mean {near}?"


def _of_location(path: str) -> str | None:
    """Return what is wrong with Location in a path that a client has made of it; None if that is not the mistake.

    Clients write `url + location + "/events"`, and find an `undefined`, a `null` or nothing in the place of it.
    """
    if path.lower().count(SESSIONS) > 1:
        return f"Location already begins with {SESSIONS}/"
    parts = [part for part in path.split("/") if part]
    is_of_events = bool(parts) and parts[-1].lower() in ("events", "event")
    if is_of_events:
        parts.pop()
    last = parts[-1] if parts else ""
    is_empty = is_of_events and not parts
    is_unread = last != "" and (_not_read(last) or _ends_unread(last))
    return NOT_READ if is_empty or is_unread else None


def nearest_path(path: str, known: Iterable[str]) -> str | None:
    """Return the known path that is most like this one, its parameters in braces; None if none is like it."""
    if len(path) > CHARACTERS_MAX:
        return None
    templates = {_parameter("{}", template).lower(): _parameter(r"{\1}", template) for template in known}
    asked = _id_in_path("{}", path.rstrip("/").lower())
    if asked.startswith("/api/v1/sessions/{}"):  # otherwise /api/v1/sessions itself may be as near
        return templates.get("/api/v1/sessions/{}/events")
    near = difflib.get_close_matches(asked, templates, n=1, cutoff=LIKENESS_MIN)
    return templates[near[0]] if near else None
