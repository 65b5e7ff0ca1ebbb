"""What all tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from brokers import kafka, own_kafka  # noqa: E402, F401
from mock_kafka import mock_kafka  # noqa: E402, F401
from postgres import catalog, own_postgres, postgres  # noqa: E402, F401
from hypothesis import settings

settings.register_profile("long", max_examples=10_000)  # pytest --hypothesis-profile=long
