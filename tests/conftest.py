"""What all tests share."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from brokers import kafka, kafka_cluster, own_kafka, pausable_kafka  # noqa: F401
from mock_kafka import mock_kafka  # noqa: F401
from postgres import catalog, own_postgres, postgres  # noqa: F401

# Those that take minutes; begun first, so that all processes end at about the same time.
LONG = ("test_soak.py", "test_many_workers.py", "test_storage_faults.py", "test_worker.py", "test_end_to_end.py")

settings.register_profile("long", max_examples=10_000)  # pytest --hypothesis-profile=long


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
