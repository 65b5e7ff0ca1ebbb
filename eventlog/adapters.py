"""Which log the settings ask for. Kafka's client is imported only where Kafka is meant."""

import asyncio

from eventlog import Inspector, Owner, Reader, Writer
from schemas.settings import Settings


async def create_log(settings: Settings) -> int:
    """Make the log where there is none, check it where there is one; return its number of partitions.

    Raises NotReady, naming what differs, where the log is not as the settings say and cannot be made so.
    """
    match settings.log:
        case "embedded":
            from eventlog.embedded import file as embedded

            return await asyncio.to_thread(
                embedded.make, embedded.path_of_log(settings), partitions=settings.log_partitions
            )
        case "kafka":
            from eventlog.kafka.topic import make_topic

            return await make_topic(settings)


async def add_partitions(settings: Settings, *, partitions: int) -> int:
    """Raise the log's number of partitions while all runs; return how many there are. Never takes one away."""
    match settings.log:
        case "embedded":
            from eventlog.embedded import file as embedded

            return await asyncio.to_thread(
                embedded.add_partitions, embedded.path_of_log(settings), partitions=partitions
            )
        case "kafka":
            from eventlog.kafka.topic import add_topic_partitions

            return await add_topic_partitions(settings, partitions=partitions)


async def read_ends(settings: Settings) -> dict[int, int]:
    """Return the offset that the next record of each partition will get; nothing is assigned by that.

    Raises NotReady where there is no log, LogUnavailable where it does not answer.
    """
    inspector = open_inspector(settings)
    try:
        return {partition: view.end_offset for partition, view in (await inspector.look({})).items()}
    finally:
        await inspector.close()


def open_inspector(settings: Settings) -> Inspector:
    """Return an inspector of the log; it connects when it is first asked."""
    match settings.log:
        case "embedded":
            from eventlog.embedded.inspector import EmbeddedInspector

            return EmbeddedInspector(settings)
        case "kafka":
            from eventlog.kafka.inspector import KafkaInspector

            return KafkaInspector(settings)


async def open_writer(settings: Settings) -> Writer:
    """Open the log for appending. Raises NotReady (and names the command that helps) or LogUnavailable."""
    match settings.log:
        case "embedded":
            from eventlog.embedded.writer import open_embedded_writer

            return await open_embedded_writer(settings)
        case "kafka":
            from eventlog.kafka.writer import open_kafka_writer

            return await open_kafka_writer(settings)


async def open_reader(settings: Settings, owner: Owner) -> Reader:
    """Open the log for reading on behalf of `owner`. Raises as `open_writer` does."""
    match settings.log:
        case "embedded":
            from eventlog.embedded.reader import open_embedded_reader

            return await open_embedded_reader(settings, owner)
        case "kafka":
            from eventlog.kafka.reader import open_kafka_reader

            return await open_kafka_reader(settings, owner)
