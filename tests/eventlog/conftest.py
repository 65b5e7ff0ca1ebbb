"""A place for a log, of each kind in turn: what the tests of every adapter ask for."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.logs import (
    EmbeddedRig,
    KafkaRig,
    LogRig,
    MockRig,
)
from rigs.mock_kafka import MockKafka, running_mock

LOGS = ["embedded", "kafka", "mock"]


def rig_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path, broker: str) -> LogRig:
    """Return a place for a log of a kind."""
    match kind:
        case "kafka":
            return KafkaRig(request.getfixturevalue(broker))
        case "mock":
            return MockRig(request.getfixturevalue("empty_mock_kafka"))
        case _:
            return EmbeddedRig(tmp_path / "data")


@pytest.fixture
def empty_mock_kafka() -> Iterator[MockKafka]:
    """A mock cluster of the test's own, without a topic."""
    with running_mock(f"playhead.test.{uuid.uuid4().hex}", partitions=0) as mock:
        yield mock


@pytest.fixture(params=LOGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> LogRig:
    """A place for a log, of each kind in turn."""
    return rig_of(request.param, request, tmp_path, "kafka")


@pytest.fixture(params=LOGS)
def stalling_rig(request: pytest.FixtureRequest, tmp_path: Path) -> LogRig:
    """The same, where the log is to be stalled."""
    return rig_of(request.param, request, tmp_path, "pausable_kafka")


@pytest.fixture(params=LOGS[:2])
def real_rig(request: pytest.FixtureRequest, tmp_path: Path) -> LogRig:
    """The same, for what the mock cluster does not do.

    It makes no topic and adds no partition by request, answers a fetch that finds nothing half a second late, and
    does not tell a group's member that another one has joined.
    """
    return rig_of(request.param, request, tmp_path, "kafka")


@pytest.fixture
def embedded(tmp_path: Path) -> EmbeddedRig:
    """A place for an embedded log."""
    return EmbeddedRig(tmp_path / "data")
