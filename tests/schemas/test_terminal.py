"""Text for a terminal."""

import pytest

from schemas.terminal import quantity


@pytest.mark.parametrize(
    ("number", "verb", "said"),
    [(0, "", "0 events"), (1, "", "1 event"), (2_000, "", "2,000 events"), (1, "wait", "1 event waits")],
)
def test_a_number_of_things_is_written_as_a_person_does(number: int, verb: str, said: str) -> None:
    """One is no plural."""
    assert quantity(number, "event", verb) == said


def test_several_things_do_what_one_does() -> None:
    """The verb follows the number."""
    assert quantity(3, "record", "wait") == "3 records wait"
