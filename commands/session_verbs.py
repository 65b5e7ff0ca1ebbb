"""The verbs of `playhead session` and their options; what they do is in `show.py`."""

from typing import Annotated

import typer

from commands.options import Data, Json, settings_of_process

app = typer.Typer(no_args_is_help=True, help="Examine single sessions.")


@app.callback()
def before_each() -> None:
    """Examine single sessions."""


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Media session id, or its first characters.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Show it again whenever it has changed, until it is over.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show one session: its events in order, gaps, flags, and how each number was computed."""
    from commands.show import follow_session, print_session

    (follow_session if follow else print_session)(settings_of_process(data), id, as_json=as_json)
