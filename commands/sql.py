"""`playhead sql`: prints the result of a query as a table, JSON or CSV."""

from commands.tables import print_table
from lake import query
from lake.catalog import location
from schemas.settings import Settings

CELL_CHARACTERS_MAX = 80


def print_answer(settings: Settings, statement: str, *, as_json: bool, as_csv: bool) -> None:
    """Query the lake and print the result; only a table shortens cells."""
    answer = query.ask(location(settings), statement)
    if as_json:
        print(query.as_json(answer))  # noqa: T201
    elif as_csv:
        print(query.as_csv(answer), end="")  # noqa: T201
    else:
        print_table(answer.columns, query.shortened(answer.rows, characters=CELL_CHARACTERS_MAX))
