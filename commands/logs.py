"""The log of a process: one JSON object per line on stderr, from every library, each field of bounded length.

Of an exception it has the class and the place and no message, since that may quote what was sent.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from importlib.metadata import version
from typing import Any, Final

import structlog

from schemas.settings import Settings, describe
from schemas.trace import trace_of

FIELD_CHARACTERS_MAX: Final = 4_000
HEAD_CHARACTERS: Final = 1_000  # of a longer field; the rest is its end, where a traceback has its cause
ENTRIES_MAX: Final = 200

logger = structlog.get_logger(__name__)


def log_as_json(level: str) -> None:
    """Write the process's log to stderr, one JSON object per line, the servers' own messages included."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace,
    ]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _bounded,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # It logs many lines per second while brokers are away; the log's adapter reports an outage once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, which may contain user ids
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def log_settings(settings: Settings, **more: object) -> None:
    """Log the version and every setting that was set, secrets hidden: the first line of a service."""
    given = {f"PLAYHEAD_{name.upper()}" for name in settings.model_fields_set}
    values = {row.variable: row.value for row in describe(settings) if row.variable in given}
    logger.info("settings", version=version("playhead"), settings=values, **more)


def _trace(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by where it was raised."""
    raised = fields.pop("exc_info", None)
    error = sys.exc_info()[1] if raised is True else raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        fields["exception"] = trace_of(error)
    return fields


def _bounded(_logger: object, _name: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Cut what is too long, whoever wrote it: a database may quote a whole statement."""
    return {name: _shortened(value) for name, value in fields.items()}


def _shortened(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _shortened(inner) for name, inner in list(value.items())[:ENTRIES_MAX]}
    if isinstance(value, list | tuple):
        return [_shortened(inner) for inner in value[:ENTRIES_MAX]]
    text = value if isinstance(value, str) else repr(value)
    left_out = len(text) - FIELD_CHARACTERS_MAX
    if left_out <= 0:
        return text
    tail = text[HEAD_CHARACTERS - FIELD_CHARACTERS_MAX :]
    return f"{text[:HEAD_CHARACTERS]}... ({left_out} characters left out) ...{tail}"
