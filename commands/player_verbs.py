"""The verbs for who writes a player, and their options: `check.py` and `tail.py` do the work."""

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Data, Json, settings_of_process


def check(
    file: Annotated[Path, typer.Argument(help="One event, an array, or an event in each line; - for stdin.")],
    as_json: Json = False,
) -> None:
    """Check events before they are sent: what an ingest would say, and what they would do to their session.

    Nothing is stored. Exit status 1 if an event would be refused.
    """
    from commands.check import print_check

    if not print_check(settings_of_process(), file, as_json=as_json):
        raise typer.Exit(1)


def tail(
    session: Annotated[str | None, typer.Option(help="Only sessions whose id begins like this.")] = None,
    content: Annotated[str | None, typer.Option(help="Only sessions of this content (media.id).")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only events of this type.")] = None,
    flag: Annotated[str | None, typer.Option(help="Only events with this flag, such as off_schema.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only bodies that were refused.")] = False,
    lines: Annotated[
        int,
        typer.Option(
            min=0, max=10_000, help="Begin with the last so many that match, of the newest million records."
        ),
    ] = 10,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Print events and refused bodies as they come into the lake, until stopped."""
    from commands.tail import follow
    from lake.arrivals import Wanted

    wanted = Wanted(session=session, content=content, event_type=event_type, flag=flag, refused=refused)
    follow(settings_of_process(data), wanted, lines=lines, as_json=as_json)
