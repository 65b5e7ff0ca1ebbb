"""Values as JSON on stdout, each in a line of its own, for programs that read it."""

import msgspec


def print_json(value: object) -> None:
    """Print a value; whoever reads it has it at once."""
    print(msgspec.json.encode(value).decode(), flush=True)  # noqa: T201
