"""What all tests share."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from brokers import kafka, kafka_cluster, own_kafka, pausable_kafka  # noqa: F401
from mock_kafka import mock_kafka  # noqa: F401
from postgres import catalog, own_postgres, postgres  # noqa: F401

settings.register_profile("long", max_examples=10_000)  # pytest --hypothesis-profile=long
