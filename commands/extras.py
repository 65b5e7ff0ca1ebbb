"""What an installation may leave out: the extra `lake`, and what to type when it is missing."""

import importlib
import sys

# The modules that the extra's packages bring. DuckDB imports pytz by itself, and its extensions are files.
LAKE = ("duckdb", "pyarrow", "pytz")


def remedy(error: ModuleNotFoundError) -> str | None:
    """Return what to install for a module that was not found, or None if no extra has it."""
    if (error.name or "").partition(".")[0] not in LAKE:
        return None
    return f"{error.name} is not installed: pip install 'playhead[lake]'"


def lake_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the lake's database; none while nothing has loaded it."""
    if "duckdb" not in sys.modules:
        return ()
    return (importlib.import_module("duckdb").Error,)
