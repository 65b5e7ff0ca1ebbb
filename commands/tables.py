"""Tables of text on the terminal."""

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from schemas.terminal import printable


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; if the output is not a terminal, as wide as its cells."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=100_000)
    # Cells may come from players, so they are text and never markup.
    table = Table(*(Column(Text(printable(column))) for column in columns))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
