"""What is wrong with a path: a session id that the client did not read, or a route that nobody serves."""

import difflib
import re
from collections.abc import Iterable
from typing import Final

from schemas.paths import quote

CHARACTERS_MAX: Final = 160
LIKENESS_MIN: Final = 0.7
ID_CHARACTERS: Final = 64
NO_SESSION: Final = "No session has this id; start a new session"

# What a client makes of an id that it does not have.
_not_read = re.compile(
    r"|undefined|null|none|nil|nan|true|false|\[object.*|[{:<$%].*|session_?id|sid|[a-z]*_?id", re.IGNORECASE
).fullmatch
_id_in_path = re.compile(r"(?<=/sessions/)[^/]+|(?<=/playouts/)(?!tracking/session)[^/]+").sub
_parameter = re.compile(r"\{(\w+)(?::\w+)?\}").sub


def why_unknown(session_id: str) -> str:
    """Return why a session id in a path is none of ours."""
    if _not_read(session_id):
        return (
            f"Expected the id of a session in the path, got {quote(session_id)}: the header Location of the reply "
            "to the sessionStart was not read, or not yet; start a new session"
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
    near = nearest_path(path, known)
    if near is None:
        return "Nothing lives at this path; /schema lists those there are"
    if near.endswith("/events"):
        return f"Nothing lives at this path; events are posted to {near}"
    return f"Nothing lives at this path; did you mean {near}?"


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
