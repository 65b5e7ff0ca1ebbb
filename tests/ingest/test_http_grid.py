"""Replies to a grid of paths, methods and origins, held to a record: spellings, CORS, HEAD, OPTIONS, 405."""

import json
from pathlib import Path

from rigs.http_grid import answers, each, quiet
from rigs.ingest import DATA


def test_each_request_of_the_grid_is_answered_as_recorded(tmp_path: Path) -> None:
    """Status, headers and body of 13,600 requests are those that tests/data/http_grid.json has.

    `tests/rigs/http_grid.py` writes the record; its changes are changes that clients see.
    """
    recorded = dict(each(json.loads((DATA / "http_grid.json").read_text())))
    with quiet(tmp_path) as ingest:
        answered = dict(each(answers(ingest)))
    assert answered.keys() == recorded.keys()
    assert {ask: reply for ask, reply in answered.items() if reply != recorded[ask]} == {}
