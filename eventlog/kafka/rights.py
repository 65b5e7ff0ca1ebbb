"""What this process may do with the topic and with the group of workers, as the brokers say.

aiokafka asks brokers in versions that know no rights, or reads replies without them, so requests and replies are
defined here.
"""

from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, NoError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

# Bits of `authorized_operations` (org.apache.kafka.common.acl.AclOperation).
READ, WRITE = 3, 4
_BITS = 32
_TEXT = String("utf-8")


class _Reply(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Reply
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _RightsRequest(Request[_Question]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, question: type[_Question]) -> _Question:
        return question([self._topic], False, False, True)


class _GroupQuestion(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3  # aiokafka reads replies of this version as those of an older one
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _GroupRightsRequest(Request[_GroupQuestion]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, question: type[_GroupQuestion]) -> _GroupQuestion:
        return question([self._group], True)


async def read_topic_rights(admin: AIOKafkaAdminClient, topic: str) -> set[int] | None:
    """Return what we may do with a topic, as numbers of Kafka's operations; None if there is no such topic.

    A topic that we may not even see allows nothing. Without an authorizer, brokers allow everything.
    """
    reply = await admin._send_request(_RightsRequest(topic))
    (described,) = reply.to_object()["topics"]
    if for_code(described["error_code"]) is UnknownTopicOrPartitionError:
        return None
    return _operations(described)


async def read_group_rights(admin: AIOKafkaAdminClient, group: str) -> set[int]:
    """Return what we may do with a consumer group, as numbers of Kafka's operations."""
    try:
        coordinator = await admin.find_coordinator(group)
    except GroupAuthorizationFailedError:
        return set()
    reply = await admin._send_request(_GroupRightsRequest(group), coordinator)
    (described,) = reply.to_object()["groups"]
    return _operations(described)


def _operations(described: dict[str, Any]) -> set[int]:
    if for_code(described["error_code"]) is not NoError:
        return set()
    return {bit for bit in range(_BITS) if described["authorized_operations"] >> bit & 1}
