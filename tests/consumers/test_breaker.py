"""When are so many records bad that their partition is paused?"""

from typing import Any

import pytest
from rigs.poison import PING, REJECTED, record

from consumers.decode import decode
from consumers.floods import bad_offsets, is_flooded, newest_bad


@pytest.mark.parametrize(
    ("offsets", "is_paused"),
    [
        ([], False),
        ([5], False),
        ([5, 6], False),
        ([5, 6, 7], True),  # all
        ([5, 7, 9], True),  # every second one
        ([5, 7, 10], True),  # three of six
        ([5, 7, 11], False),  # three of seven
        ([1, 2, 90, 91, 500, 501], False),  # few here and there
        ([1, 2, 90, 91, 92], True),
    ],
)
def test_half_of_the_records_are_bad(offsets: list[int], is_paused: bool) -> None:
    """Three bad ones among six in a row are a flood, where three are the limit."""
    assert is_flooded(offsets, bad_max=3) is is_paused


def test_a_record_read_twice_counts_once() -> None:
    """After a batch was refused its records are read again; batches add up, and no more is kept than matters."""
    known = newest_bad([], [5, 6], bad_max=3)
    assert newest_bad(known, [5, 6], bad_max=3) == [5, 6]
    assert newest_bad(known, [6, 7, 8], bad_max=3) == [6, 7, 8]


def test_what_ingest_refused_is_a_good_record() -> None:
    """Players that send nonsense pause nothing."""
    values: list[bytes | dict[str, Any]] = [PING, REJECTED, b"no JSON"]
    entries = [decode(record(value, offset=offset)) for offset, value in enumerate(values)]
    assert bad_offsets(entries) == [2]
