"""What all tests share."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from brokers import kafka, kafka_cluster, own_kafka, pausable_kafka  # noqa: F401
from mock_kafka import mock_kafka  # noqa: F401
from postgres import catalog, own_postgres, postgres  # noqa: F401

# Beside brokers and databases that start, the first draw may take a second, which says nothing of the strategy.
settings.register_profile("default", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.register_profile(
    "long", settings.get_profile("default"), max_examples=10_000
)  # --hypothesis-profile=long
settings.load_profile("default")
