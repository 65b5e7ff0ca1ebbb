"""The topic: created, compared with the settings, given more partitions; and who reads them.

Creating it and adding partitions need the right to create topics; writers and readers never create one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError, NoError, TopicAlreadyExistsError, for_code

from eventlog.kafka.client import UNREACHABLE, absent, client_options, why_unreachable
from eventlog.kafka.writer import batch_bytes_max
from schemas.faults import NotReady
from schemas.settings import Settings

REPLICAS_MAX = 3
MADE_WITHIN_S = 20.0
COORDINATOR_WITHIN_S = 10.0


async def make_topic(settings: Settings) -> int:
    """Create the topic if there is none, else compare it; return how many partitions it has.

    Raises NotReady, naming each difference, if the topic does not match the settings.
    """
    async with _admin(settings) as admin:
        topic = await _describe(admin, settings.kafka_topic)
        if topic is None:
            await _create(admin, settings)
            topic = await _until_made(admin, settings.kafka_topic, settings.log_partitions)
        copies = min(len(partition["replicas"]) for partition in topic["partitions"])
        await _compare(admin, settings, copies)
        return len(topic["partitions"])


async def add_topic_partitions(settings: Settings, *, partitions: int) -> int:
    """Raise the topic's number of partitions; return how many there are. Never removes any."""
    async with _admin(settings) as admin:
        topic = await _describe(admin, settings.kafka_topic)
        if topic is None:
            raise absent(settings)
        count = len(topic["partitions"])
        if partitions <= count:
            return count
        response = await admin.create_partitions({settings.kafka_topic: NewPartitions(total_count=partitions)})
        _accept(response, settings)
        return len((await _until_made(admin, settings.kafka_topic, partitions))["partitions"])


async def read_members(settings: Settings) -> dict[int, str]:
    """Return which member of the consumer group reads each partition, by its client id and address.

    Raises NotReady or LogUnavailable.
    """
    async with _admin(settings) as admin:
        try:
            async with asyncio.timeout(COORDINATOR_WITHIN_S):
                response = await _describe_group(admin, settings.kafka_group)
        except UNREACHABLE as error:
            raise await why_unreachable(settings, error) from error
    readers: dict[int, str] = {}
    for member in response.to_object()["groups"][0]["members"]:
        if member["member_assignment"]:
            assigned = ConsumerProtocolMemberAssignment.decode(member["member_assignment"])
            name = f"{member['client_id']} at {member['client_host'].removeprefix('/')}"
            readers |= {of.partition: name for of in assigned.partitions() if of.topic == settings.kafka_topic}
    return readers


async def _describe_group(admin: AIOKafkaAdminClient, group: str) -> Any:
    """Return the coordinator's description of a group; brokers need a moment to choose the first coordinator."""
    while True:
        try:
            [response] = await admin.describe_consumer_groups([group])
            return response
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        try:
            await admin.start()
        except UNREACHABLE as error:
            raise await why_unreachable(settings, error) from error
        yield admin
    finally:
        await admin.close()


async def _describe(admin: AIOKafkaAdminClient, name: str) -> dict[str, Any] | None:
    """Return the brokers' description of the topic. It asks for all topics: asking for one might create it."""
    for topic in await admin.describe_topics():
        if topic["topic"] == name and topic["partitions"]:
            return dict(topic)
    return None


async def _create(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    brokers = len((await admin.describe_cluster())["brokers"])
    copies = settings.kafka_replication or min(REPLICAS_MAX, brokers)
    topic = NewTopic(
        name=settings.kafka_topic,
        num_partitions=settings.log_partitions,
        replication_factor=copies,
        topic_configs=_wanted(settings, copies),
    )
    response = await admin.create_topics([topic])
    _accept(response, settings)


def _accept(response: Any, settings: Settings) -> None:
    """Raise NotReady if the brokers refused a request, unless another process has done the same."""
    for answer in response.to_object()["topic_errors"]:
        error = for_code(answer["error_code"])
        if error not in (NoError, TopicAlreadyExistsError):
            reason = answer.get("error_message") or error.__name__
            raise NotReady(f"topic {settings.kafka_topic} cannot be made so: {reason}")


async def _until_made(admin: AIOKafkaAdminClient, name: str, partitions: int) -> dict[str, Any]:
    """Wait until the brokers know all partitions and their leaders."""
    try:
        async with asyncio.timeout(MADE_WITHIN_S):
            while True:
                topic = await _describe(admin, name)
                led = [partition for partition in topic["partitions"] if partition["leader"] >= 0] if topic else []
                if topic and len(led) >= partitions:
                    return topic
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise NotReady(f"topic {name} was made, but has no leaders after {MADE_WITHIN_S:g} s") from None


def _wanted(settings: Settings, copies: int) -> dict[str, str]:
    return {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(batch_bytes_max(settings)),
        "min.insync.replicas": str(settings.kafka_min_insync_replicas or max(1, copies - 1)),
        "retention.ms": str(int(settings.log_retention_s * 1000)),
        "retention.bytes": "-1",
        "segment.ms": str(settings.kafka_segment_ms),
        "cleanup.policy": "delete",
        "compression.type": "producer",
    }


async def _compare(admin: AIOKafkaAdminClient, settings: Settings, copies: int) -> None:
    wanted = _wanted(settings, copies)
    resource = ConfigResource(ConfigResourceType.TOPIC, settings.kafka_topic, dict.fromkeys(wanted))
    [response] = await admin.describe_configs([resource])
    entries = response.to_object()["resources"][0]["config_entries"]
    found = {entry["config_names"]: entry["config_value"] for entry in entries}
    differences = [
        f"{name} is {found.get(name)}, should be {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if settings.kafka_replication and copies != settings.kafka_replication:
        differences.append(f"it has {copies} copies, should have {settings.kafka_replication}")
    if differences:
        raise NotReady(
            f"topic {settings.kafka_topic} is not as the settings say: {'; '.join(differences)}. "
            "Alter the topic (kafka-configs --alter) or the settings"
        )
