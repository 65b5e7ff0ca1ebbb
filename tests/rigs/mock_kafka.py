"""A Kafka cluster in memory that fails on command: librdkafka's mock cluster, out of the confluent-kafka wheel.

It speaks the protocol to any client. It keeps 5 MB a partition and no group state beyond its life: for faults, not
for storage.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from rigs.brokers import JvmBroker, JvmCluster
from schemas.settings import Settings

PRODUCE, FETCH, OFFSET_COMMIT = 0, 1, 8
BROKERS = 3


def _library() -> ctypes.CDLL:
    """Load librdkafka and tell ctypes the types of what is used here."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka*"))))
    pointer, text, number, short = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int16
    signatures = {
        "conf_new": (pointer, []),
        "new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "destroy": (None, [pointer]),
        "mock_cluster_new": (pointer, [pointer, number]),
        "mock_cluster_destroy": (None, [pointer]),
        "mock_cluster_bootstraps": (text, [pointer]),
        "mock_topic_create": (number, [pointer, text, number, number]),
        "mock_push_request_errors_array": (None, [pointer, short, ctypes.c_size_t, ctypes.POINTER(number)]),
        "mock_clear_request_errors": (None, [pointer, short]),
        "mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
        "mock_broker_set_rtt": (number, [pointer, ctypes.c_int32, number]),
        "mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "mock_partition_set_leader": (number, [pointer, text, ctypes.c_int32, ctypes.c_int32]),
        "mock_partition_delete_records": (number, [pointer, text, ctypes.c_int32, ctypes.c_int64]),
        "mock_topic_delete": (number, [pointer, text]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class MockKafka:
    """Three brokers, and one topic where there are to be partitions; see the module."""

    def __init__(self, topic: str, *, partitions: int) -> None:
        self._library = _library()
        error = ctypes.create_string_buffer(512)
        self._client = self._library.rd_kafka_new(0, self._library.rd_kafka_conf_new(), error, 512)
        assert self._client, error.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, BROKERS)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.topic = topic
        self.bootstrap_servers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        if partitions:
            self.make_topic(partitions)

    def make_topic(self, partitions: int) -> None:
        """Make the topic."""
        assert not self._library.rd_kafka_mock_topic_create(
            self._cluster, self.topic.encode(), partitions, BROKERS
        )

    def delete_topic(self) -> None:
        """Delete the topic with its records."""
        assert not self._library.rd_kafka_mock_topic_delete(self._cluster, self.topic.encode())

    def delete_records(self, partition: int, below: int) -> None:
        """Delete the records of a partition below an offset."""
        assert not self._library.rd_kafka_mock_partition_delete_records(
            self._cluster, self.topic.encode(), partition, below
        )

    def fail(self, request: int, *codes: int) -> None:
        """Answer the next requests of this kind with these error codes."""
        errors = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(codes), errors)

    def fail_no_more(self, request: int) -> None:
        """Answer requests of this kind truly again."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, request)

    def down(self) -> None:
        """Take all brokers down: connections break, new ones are refused."""
        for broker in range(1, BROKERS + 1):
            self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def up(self) -> None:
        """Bring all brokers up."""
        for broker in range(1, BROKERS + 1):
            self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def answer_after(self, wait_s: float) -> None:
        """Let every answer take this long."""
        for broker in range(1, BROKERS + 1):
            self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, int(wait_s * 1000))

    def move_leader(self, partition: int, broker: int) -> None:
        """Make a broker (1 to 3) the leader of a partition."""
        self._library.rd_kafka_mock_partition_set_leader(self._cluster, self.topic.encode(), partition, broker)

    def close(self) -> None:
        """End the cluster."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


@contextlib.contextmanager
def running_mock(topic: str, *, partitions: int = 2) -> Iterator[MockKafka]:
    """Run a mock cluster for the length of the block."""
    mock = MockKafka(topic, partitions=partitions)
    try:
        yield mock
    finally:
        mock.close()


@pytest.fixture
def mock_kafka() -> Iterator[MockKafka]:
    """A mock cluster of the test's own, with the topic `playhead.events` of 2 partitions."""
    with running_mock("playhead.events") as mock:
        yield mock


def settings_of(broker: MockKafka | JvmBroker | JvmCluster, **changes: Any) -> Settings:
    """Return settings that reach the broker or mock cluster."""
    return Settings(log="kafka", kafka_bootstrap_servers=broker.bootstrap_servers, **changes)
