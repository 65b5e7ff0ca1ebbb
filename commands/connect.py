"""`playhead.connect`: a lake from Python, for queries only."""

from collections.abc import Mapping
from pathlib import Path

from lake.reading import Reader
from notebooks.connect import open_lake
from schemas.settings import PREFIX

__all__ = ["Reader", "open_for_queries"]


def open_for_queries(environment: Mapping[str, str], data: Path | str | None, named: Mapping[str, str]) -> Reader:
    """Open the lake that an environment names; `named` settings, in lower case, override its variables."""
    variables = {PREFIX + name.upper(): value for name, value in named.items()}
    return open_lake({**environment, **variables}, None if data is None else Path(data))
