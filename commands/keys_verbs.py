"""The verbs of `playhead keys` and their options; what they do is in `keys.py`."""

from typing import Annotated, Literal

import typer

from commands.options import Data, Json, settings_of_process
from schemas.named_keys import SCOPES

app = typer.Typer(
    no_args_is_help=True, help="Make named API keys, revoke them, list them; ingests follow at once."
)
Name = Annotated[str, typer.Argument(help="Name of the key, such as web-2026; it is not secret.")]


@app.command()
def add(
    name: Name,
    scope: Annotated[
        Literal["all", "tracking", "media"], typer.Option(help="The API that the key opens.")
    ] = "all",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a key, and print it: this once, since only its hash is kept."""
    from commands.keys import print_new_key

    scopes = SCOPES if scope == "all" else (scope,)
    print_new_key(settings_of_process(data), name, scopes, as_json=as_json)


@app.command()
def revoke(name: Name, data: Data = None) -> None:
    """Let a key open nothing any more."""
    from commands.keys import print_revoked

    print_revoked(settings_of_process(data), name)


@app.command("list")
def list_(as_json: Json = False, data: Data = None) -> None:
    """List the keys by their names: what each opens, since when, and until when."""
    from commands.keys import print_keys

    print_keys(settings_of_process(data), as_json=as_json)
