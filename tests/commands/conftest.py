"""A run that is over, for all tests, and one that goes on, for those of a module."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.commands import METRICS_URL, Running, ask, playhead, started


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with the data of a short run that is over, and that run."""
    cwd = tmp_path_factory.mktemp("ran")
    return cwd, playhead("up", "--viewers", "5", "--for", "8s", "--port", "0", cwd=cwd)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Running]]:
    """A folder whose Playhead is running, with viewers."""
    cwd = tmp_path_factory.mktemp("live")
    with started("up", "--viewers", "5", "--port", "0", cwd=cwd) as running:
        running.wait_for(lambda: METRICS_URL.search(running.output))
        running.wait_for(lambda: ask("SELECT count(*) AS n FROM sessions", cwd=cwd)[0]["n"] > 2)
        yield cwd, running
