"""Tables of text on the terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from schemas.terminal import printable

WIDE_CHARACTERS = 120
_BORDERS = 3  # of each cell


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; if the output is not a terminal, as wide as its cells.

    A single row that is wider than the terminal, or than 120 characters, is printed as two columns: its names and
    its values.
    """
    console = Console()
    widest = console.width if console.is_terminal else WIDE_CHARACTERS
    if not console.is_terminal:
        console = Console(width=100_000)
    cells = list(zip(columns, rows[0], strict=True)) if len(rows) == 1 else []
    if sum(max(map(len, cell)) + _BORDERS for cell in cells) > widest:
        columns, rows = ["column", "value"], [list(cell) for cell in cells]
    console.print(table_of(columns, rows))


def table_of(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Return a table. Its cells may come from players, so they are text and never markup."""
    table = Table(*(Column(Text(printable(column))) for column in columns))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
