"""Does the end of `playhead up` notice what nobody posted, and what is gone, whoever posted it?"""

import msgspec
import pytest

from commands.judge import IngestCounts, LakeCounts, compare_counts

# Ten records handed to the log: one was not answered 2xx, and two were repetitions, which are stored once.
COUNTED = IngestCounts(handed=10, accepted=9, kept=3, dropped=1)
STORED = LakeCounts(sessions=[], records=7, duplicates=2, refused=3)


@pytest.mark.parametrize(
    ("stored", "kinds"),
    [
        ({}, []),
        ({"records": 8}, []),  # what was not answered may be there
        ({"records": 6}, ["lost"]),
        ({"duplicates": 1}, ["lost"]),
        ({"records": 9}, ["invented"]),
        ({"records": 11}, ["invented"]),
        ({"refused": 2}, ["lost"]),
        ({"refused": 4}, []),  # what the log did not say it has may be there
        ({"refused": 5}, ["invented"]),
        ({"records": 6, "refused": 5}, ["lost", "invented"]),
    ],
)
def test_the_lake_holds_what_was_accepted_and_nothing_that_was_not_posted(
    stored: dict[str, int], kinds: list[str]
) -> None:
    """At least what was answered 2xx, at most what was handed to the log; refused bodies likewise."""
    findings = compare_counts(msgspec.structs.replace(STORED, **stored), COUNTED, COUNTED)
    assert [finding.kind for finding in findings] == kinds


def test_what_comes_while_the_lake_is_looked_at_is_neither_lost_nor_invented() -> None:
    """What was accepted is counted before the look, what was posted after it."""
    later = IngestCounts(handed=15, accepted=14, kept=5, dropped=1)
    assert compare_counts(STORED, COUNTED, later) == []
    grown = msgspec.structs.replace(STORED, records=12, refused=5)
    assert compare_counts(grown, COUNTED, later) == []
