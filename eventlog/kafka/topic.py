"""The topic: created, compared with the settings, given more partitions; and who reads them.

Creating it and adding partitions need the right to create topics; writers and readers never create one.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from eventlog import Setup
from eventlog.kafka.client import UNREACHABLE, absent, client_options, why_unreachable
from eventlog.kafka.rights import READ, WRITE, read_group_rights, read_topic_rights
from eventlog.kafka.writer import batch_bytes_max
from schemas.faults import NotReady
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

T = TypeVar("T")

REPLICAS_MAX = 3
KNOWN_WITHIN_S = 20.0
COORDINATOR_WITHIN_S = 10.0
SETUP_WITHIN_S = 8.0
IN_SYNC = "min.insync.replicas"
OF_TOPIC = 1  # in Kafka's protocol: a setting that was made for the topic itself
COPIES = "replication factor"  # no setting of a topic in Kafka, but compared like one


async def make_topic(settings: Settings, *, alter: bool = False) -> int:
    """Create the topic if there is none, else compare it; return how many partitions it has.

    With `alter` it is given the settings that differ. Raises NotReady, naming each difference that is left.
    """
    async with _admin(settings) as admin:
        name = settings.kafka_topic
        if found := await _describe(admin, name):
            topic = await _until_known(admin, name, _leaders(found))  # perhaps somebody has just made it
        else:
            await _create(admin, settings)
            topic = await _until_known(admin, name, settings.log_partitions)
        differences = await _differences(admin, settings, topic)
        if alter:
            differences = await _alter(admin, settings, topic, differences)
        if differences:
            raise NotReady(_differ(name, differences))
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
        return len((await _until_known(admin, settings.kafka_topic, partitions))["partitions"])


async def read_topic_setup(settings: Settings) -> Setup:
    """Return how the topic is set up. Raises NotReady if the brokers refuse us, LogUnavailable if none answers."""
    async with _admin(settings) as admin, asyncio.timeout(SETUP_WITHIN_S):
        return await _setup(admin, settings)


async def _setup(admin: AIOKafkaAdminClient, settings: Settings) -> Setup:
    name, group = settings.kafka_topic, settings.kafka_group
    of_topic = await read_topic_rights(admin, name)
    if of_topic is None:
        return Setup(None, mistakes=[str(absent(settings))])
    of_group = await _once_coordinated(partial(read_group_rights, admin, group))
    no_append = no_read = None
    if WRITE not in of_topic:
        no_append = f"we may not append to topic {name}: allow Write on it"
    if READ not in of_topic & of_group:
        no_read = f"we may not read topic {name} as a worker: allow Read on it and on group {group}"
    topic = await _describe(admin, name)
    if topic is None:
        unknown = f"topic {name} cannot be seen: allow Describe on it"
        return Setup(None, no_append=no_append, no_read=no_read, unknown=unknown)
    mistakes: list[str] = []
    in_sync_min, unknown = 1, ""
    try:
        differences = await _differences(admin, settings, topic)
        mistakes += [_differ(name, differences)] if differences else []
        in_sync_min = int((await _read_configs(admin, name, [IN_SYNC]))[IN_SYNC])
    except NotReady as fault:
        unknown = str(fault)
    mistakes += _unavailable(topic, in_sync_min)
    return Setup(len(topic["partitions"]), mistakes, no_append=no_append, no_read=no_read, unknown=unknown or None)


def _unavailable(topic: dict[str, Any], in_sync_min: int) -> list[str]:
    stuck = sorted(
        partition["partition"]
        for partition in topic["partitions"]
        if partition["leader"] < 0 or len(partition["isr"]) < in_sync_min
    )
    if not stuck:
        return []
    numbers = ", ".join(map(str, stuck))
    return [f"partitions {numbers} have no leader or too few replicas in sync: start the brokers that hold them"]


async def read_members(settings: Settings) -> dict[int, str]:
    """Return which member of the consumer group reads each partition, by its client id and address.

    Raises NotReady or LogUnavailable.
    """
    async with _admin(settings) as admin, asyncio.timeout(COORDINATOR_WITHIN_S):
        [response] = await _once_coordinated(partial(admin.describe_consumer_groups, [settings.kafka_group]))
    readers: dict[int, str] = {}
    for member in response.to_object()["groups"][0]["members"]:
        if member["member_assignment"]:
            assigned = ConsumerProtocolMemberAssignment.decode(member["member_assignment"])
            name = f"{member['client_id']} at {member['client_host'].removeprefix('/')}"
            readers |= {of.partition: name for of in assigned.partitions() if of.topic == settings.kafka_topic}
    return readers


async def _once_coordinated(ask: Callable[[], Awaitable[T]]) -> T:
    """Return the answer about a group; brokers need a moment to choose the first coordinator."""
    while True:
        try:
            return await ask()
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a client; whatever fails within for want of a broker's answer is raised as a fault with the reason."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    except UNREACHABLE as error:
        raise await why_unreachable(settings, error) from error
    finally:
        await admin.close()


async def _describe(admin: AIOKafkaAdminClient, name: str, broker: int | None = None) -> dict[str, Any] | None:
    """Return a broker's description of the topic. It asks for all topics: asking for one might create it."""
    reply = await admin._send_request(MetadataRequest(None), broker)
    for topic in reply.to_object()["topics"]:
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


async def _until_known(admin: AIOKafkaAdminClient, name: str, led: int) -> dict[str, Any]:
    """Wait until every broker knows so many partitions with a leader: each learns of them in its own time.

    Whoever comes next may ask any of them. A broker that does not answer counts until the others leave it out.
    """
    try:
        async with asyncio.timeout(KNOWN_WITHIN_S):
            while True:
                with contextlib.suppress(KafkaError):
                    brokers = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
                    topics = [await _describe(admin, name, broker) for broker in brokers]
                    known = [topic for topic in topics if topic and _leaders(topic) >= led]
                    if known and len(known) == len(brokers):
                        return known[0]
                await asyncio.sleep(0.05)
    except TimeoutError:
        late = f"after {KNOWN_WITHIN_S:g} s not all brokers know {led} partitions of it with a leader"
        raise NotReady(f"topic {name} is there, but {late}") from None


def _leaders(topic: dict[str, Any]) -> int:
    return sum(partition["leader"] >= 0 for partition in topic["partitions"])


def _wanted(settings: Settings, copies: int) -> dict[str, str]:
    return {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(batch_bytes_max(settings)),
        IN_SYNC: str(settings.kafka_min_insync_replicas or max(1, copies - 1)),
        "retention.ms": str(int(settings.log_retention_s * 1000)),
        "retention.bytes": "-1",
        "segment.ms": str(settings.kafka_segment_ms),
        "cleanup.policy": "delete",
        "compression.type": "producer",
    }


def _differ(name: str, differences: Mapping[str, tuple[str, str]]) -> str:
    """Return the sentence for settings of a topic that differ: each with what it is and what it should be."""
    each = "; ".join(f"{one} is {found}, should be {wanted}" for one, (found, wanted) in differences.items())
    cures = ["run `playhead topics --alter`"] if differences.keys() - {COPIES} else []
    cures += ["reassign its replicas (kafka-reassign-partitions)"] if COPIES in differences else []
    return f"topic {name} is not as the settings say: {each}. Change the settings, or {' and '.join(cures)}"


async def _alter(
    admin: AIOKafkaAdminClient, settings: Settings, topic: dict[str, Any], differences: dict[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """Give the topic the settings that differ; others that it has stay. Return what still differs.

    Raises NotReady if this process may not do that. The number of replicas is none of them.
    """
    name = settings.kafka_topic
    changes = {one: change for one, change in differences.items() if one != COPIES}
    if not changes:
        return differences
    entries = await _describe_configs(admin, name, None)
    own = {entry["config_names"]: entry["config_value"] for entry in entries if entry["config_source"] == OF_TOPIC}
    wanted = own | {one: value for one, (_, value) in changes.items()}  # what is left out would be unset
    [response] = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted)])
    (answer,) = response.to_object()["resources"]
    error = for_code(answer["error_code"])
    if error is not NoError:
        reason = answer["error_message"] or error.__name__
        raise NotReady(f"topic {name} cannot be altered ({reason}): allow AlterConfigs on it")
    logger.info("topic altered", topic=name, changes=changes)
    until_s = time.monotonic() + KNOWN_WITHIN_S
    while True:
        left = await _differences(admin, settings, topic)
        if not left.keys() - {COPIES} or time.monotonic() > until_s:
            return left
        await asyncio.sleep(0.05)


async def _differences(
    admin: AIOKafkaAdminClient, settings: Settings, topic: dict[str, Any]
) -> dict[str, tuple[str, str]]:
    """Return each of the topic's settings that differs, with what it is and what it should be.

    Raises NotReady if this process may not read them.
    """
    copies = min(len(partition["replicas"]) for partition in topic["partitions"])
    wanted = _wanted(settings, copies)
    found = await _read_configs(admin, settings.kafka_topic, wanted)
    if settings.kafka_replication:
        found[COPIES], wanted[COPIES] = str(copies), str(settings.kafka_replication)
    return {name: (found.get(name, "unset"), value) for name, value in wanted.items() if found.get(name) != value}


async def _read_configs(admin: AIOKafkaAdminClient, topic: str, names: Iterable[str]) -> dict[str, str]:
    entries = await _describe_configs(admin, topic, names)
    return {entry["config_names"]: entry["config_value"] for entry in entries}


async def _describe_configs(
    admin: AIOKafkaAdminClient, topic: str, names: Iterable[str] | None
) -> list[dict[str, Any]]:
    """Return the topic's settings of these names, or all, each with where it comes from. Raises NotReady."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, None if names is None else dict.fromkeys(names))
    [response] = await admin.describe_configs([resource])
    (described,) = response.to_object()["resources"]
    error = for_code(described["error_code"])
    if error is not NoError:
        raise NotReady(f"the settings of topic {topic} cannot be read ({error.__name__}): allow DescribeConfigs")
    entries: list[dict[str, Any]] = described["config_entries"]
    return entries
