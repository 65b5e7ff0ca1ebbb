"""Text for a terminal: what players and databases say, made safe to print, and numbers of things."""


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


def quantity(number: int, thing: str, verb: str = "") -> str:
    """Return a number of things as a person writes it: `1 event`, `2,000 events`; `1 record waits`."""
    if number == 1:
        return f"1 {thing} {verb}s" if verb else f"1 {thing}"
    return f"{number:,} {thing}s {verb}" if verb else f"{number:,} {thing}s"
