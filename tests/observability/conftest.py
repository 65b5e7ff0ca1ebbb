"""One ingest, one worker and one upkeep as processes, on a lake of their own, for the tests of a module."""

from collections.abc import Iterator

import pytest
from rigs.watched_stack import Watched, watched_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A stack that has received, refused, stored and closed something, and that had a round of upkeep."""
    with watched_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
