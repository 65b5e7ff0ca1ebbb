"""What all tests share."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from rigs.brokers import kafka, kafka_cluster, own_kafka, pausable_kafka  # noqa: F401
from rigs.mock_kafka import mock_kafka  # noqa: F401
from rigs.postgres import catalog, own_postgres, postgres  # noqa: F401

# As where CI is set, without a limit on time: while brokers and databases start, the first draw may take a
# second, which says nothing of the strategy. But with other examples each time.
settings.register_profile("here", settings.get_profile("ci"), derandomize=False)
settings.register_profile("long", settings.get_profile("here"), max_examples=10_000)  # --hypothesis-profile=long
if not os.environ.get("CI"):
    settings.load_profile("here")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the journal of hostile requests be longer, or another."""
    parser.addoption("--fuzz-requests", default=3_000, type=int, help="requests of tests/ingest/test_journal.py")
    parser.addoption("--long", action="store_true", help="every kill and seed that a test otherwise samples")
    parser.addoption("--fuzz-seed", default=1, type=int, help="which requests these are")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether to go through all cases, where a test otherwise takes one of each kind."""
    return bool(request.config.getoption("--long"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest tests begin: as the last ones, they would leave the other processes without work."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")
