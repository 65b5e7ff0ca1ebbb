"""Text from players and databases, made safe to print on a terminal."""


def printable(text: str) -> str:
    """Return a text with each control character, line breaks included, replaced."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def printable_lines(text: str) -> str:
    """Return a text as `printable` does, but keep its line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))


def escaped(value: bytes) -> str:
    r"""Return bytes as one line: text as it is, everything else as `\n`, `\x1b`, `\u202e`."""
    text = value.decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
