"""The command `playhead`: everybody's verbs put together."""

import typer

main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@main.callback()
def _options() -> None:
    """Take the events of media players, lose none, query them while they come."""
