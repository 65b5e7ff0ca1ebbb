"""What a terminal is shown of a text that may come from a player or a database."""


def printable(text: str) -> str:
    """Return a text without characters that a terminal obeys, line breaks among them."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def printable_lines(text: str) -> str:
    """Return a text as `printable` does, but with its line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))
