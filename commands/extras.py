"""The extra `lake`: how its absence is noticed, and what installs it."""

import importlib
import sys

# The modules of the extra's packages. DuckDB itself imports pytz; its extensions are files.
LAKE = ("duckdb", "pyarrow", "pytz")


def remedy(error: ModuleNotFoundError) -> str | None:
    """Return a message that names what to install for a missing module, or None if no extra has it."""
    if (error.name or "").partition(".")[0] not in LAKE:
        return None
    return f"{error.name} is not installed: pip install 'playhead[lake]'"


def lake_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the lake's database, if it is loaded."""
    if "duckdb" not in sys.modules:
        return ()
    return (importlib.import_module("duckdb").Error,)
