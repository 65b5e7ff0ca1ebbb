"""How a command ends that must not go on: a sentence for a person, one line of JSON in the log of a service."""

import sys
from collections.abc import Callable
from typing import Final

import structlog

from commands.extras import in_words, lake_errors, remedy
from commands.logs import log_as_json
from schemas.faults import Fault
from schemas.terminal import printable_lines

SERVICES: Final = ("ingest", "worker", "upkeep", "backup")  # the verbs whose stderr is a log, except on a terminal
REFUSED: Final = 2
FAILED: Final = 1

logger = structlog.get_logger(__name__)


def run(command: Callable[..., object]) -> None:
    """Run the command line to its end. A fault, or a wrong argument, ends it with one line and status 2.

    On a terminal, and with verbs that a person types, it is a sentence. Where programs read stderr, a service logs
    it as JSON, and anything unexpected too, which then ends it with status 1.
    """
    if sys.argv[1:2] and sys.argv[1] in SERVICES and not sys.stderr.isatty():
        sys.exit(_run_service(command))
    try:
        command()
    except Exception as error:
        if (sentence := _sentence(error)) is None:
            raise
        print(f"playhead: {printable_lines(sentence)}", file=sys.stderr)  # noqa: T201
        sys.exit(REFUSED)


def _run_service(command: Callable[..., object]) -> int:
    log_as_json("info")  # as long as the settings are not read
    try:
        status = command(standalone_mode=False)
    except Exception as error:
        sentence = _sentence(error) or _misuse(error)
        if sentence is None:
            logger.critical("failed", exc_info=error)
            return FAILED
        logger.error("ended", code=getattr(error, "code", type(error).__name__), error=sentence)
        return REFUSED
    return status if isinstance(status, int) else 0


def _sentence(error: Exception) -> str | None:
    """Return what a person needs to know of an exception that a verb may end with; None for any other."""
    if isinstance(error, ModuleNotFoundError):
        return remedy(error)
    if isinstance(error, (Fault, OSError, *lake_errors())):
        return in_words(error)
    return None


def _misuse(error: Exception) -> str | None:
    """Return what is wrong with the arguments, if that is what it is about.

    typer raises exceptions of a click of its own, which it does not export.
    """
    text = getattr(error, "format_message", None)
    return str(text()) if text is not None else None
