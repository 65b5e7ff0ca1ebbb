"""Keeps packages out of the process that DuckDB and pyarrow import if they find them, and that no verb needs."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

# 0.9 s of CPU and 60 MB in each process, as soon as a value is bound to a statement.
UNNEEDED = ("numpy", "pandas")


class _Absent:
    """A finder for which these packages are not installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Raise ModuleNotFoundError for a package that is left out; leave all others to the other finders."""
        if name in UNNEEDED:
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)
        return None


def leave_out_unneeded() -> None:
    """Let imports of these packages fail from here on, as if they were not installed."""
    sys.meta_path.insert(0, _Absent)
