"""One stack for all tests that do not mind each other."""

from collections.abc import Iterator

import pytest
from rigs.commands import playhead
from rigs.whole import Stack, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests that do not mind each other; at the end it must be as promised."""
    cwd = tmp_path_factory.mktemp("end_to_end")
    with running(cwd) as stack:
        yield stack
    done = playhead("verify", cwd=cwd)
    assert done.returncode == 0, done.stdout
