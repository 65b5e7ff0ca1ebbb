"""What a browser writes in the header `Origin`."""

import re
from typing import Final

_ORIGIN: Final = re.compile(
    rb"[a-z][a-z0-9+.-]{0,31}://(?:[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,126}|\[[0-9a-f:.]{2,45}\])"
    rb"(?::(?P<port>[0-9]{1,5}))?"
)


def is_origin(text: bytes) -> bool:
    """Return whether a text is one origin: `scheme://host` or with `:port`, in lower case."""
    match = _ORIGIN.fullmatch(text)
    return match is not None and int(match["port"] or 0) <= 65_535
