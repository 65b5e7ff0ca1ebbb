"""Where an exception was raised: classes, functions and lines, and no message, which may quote what was sent."""

import traceback
from pathlib import Path
from types import FrameType

FRAMES_MAX = 12
CAUSES_MAX = 5


def trace_of(error: BaseException) -> str:
    """Return the class of an exception and where it was raised, the innermost place first; then of its cause."""
    parts: list[str] = []
    following: BaseException | None = error
    while following is not None and len(parts) < CAUSES_MAX:
        parts.append(f"{type(following).__name__} at {_places(traceback.extract_tb(following.__traceback__))}")
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "; because of ".join(parts)


def place_of(frame: FrameType) -> str:
    """Return where a thread is, the innermost place first."""
    return _places(traceback.extract_stack(frame))


def _places(stack: traceback.StackSummary) -> str:
    named = (
        f"{place.name} ({Path(place.filename).name}:{place.lineno})" for place in reversed(stack[-FRAMES_MAX:])
    )
    return " < ".join(named) or "nowhere"
