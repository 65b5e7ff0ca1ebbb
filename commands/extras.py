"""The extras `lake` and `notebooks`: how their absence is noticed, and what installs them."""

import importlib
import importlib.util
import sys

# The modules of the extra's packages. DuckDB itself imports pytz; its extensions are files.
LAKE = ("duckdb", "pyarrow", "pytz")
NOTEBOOKS = ("altair", "marimo", "starlette")


def remedy(error: ModuleNotFoundError) -> str | None:
    """Return a message that names what to install for a missing module, or None if no extra has it."""
    module = (error.name or "").partition(".")[0]
    if module in LAKE:
        return f"{error.name} is not installed: pip install 'playhead[lake]'"
    if module in NOTEBOOKS:
        return f"{error.name} is not installed: pip install 'playhead[lake,notebooks]'"
    return None


def has_notebooks() -> bool:
    """Return whether the extra `notebooks` is installed."""
    return all(importlib.util.find_spec(module) for module in NOTEBOOKS)


def lake_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the lake's database, if it is loaded."""
    if "duckdb" not in sys.modules:
        return ()
    return (importlib.import_module("duckdb").Error,)


def in_words(error: Exception) -> str:
    """Return what a person reads of an exception: of the lake's database, the cause first and no password."""
    if not isinstance(error, lake_errors()):
        return str(error)
    from lake.errors import with_cure

    return with_cure(error)
