"""`playhead attach`: the SQL with which any DuckDB client opens this lake."""

from lake.catalog import location, paste_sql
from schemas.settings import Settings


def print_attach(settings: Settings) -> None:
    """Print statements to paste into a DuckDB client."""
    print(paste_sql(location(settings)))  # noqa: T201
