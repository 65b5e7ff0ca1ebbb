"""The log that the settings select. Kafka's client is imported only if Kafka is selected."""

import asyncio

from eventlog import Inspector, Owner, Reader, Setup, Writer
from schemas.settings import Settings


async def create_log(settings: Settings, *, alter: bool = False) -> int:
    """Create the log if there is none, else check it; return its number of partitions.

    Raises NotReady, naming the difference, if an existing log does not match the settings. With `alter` a topic is
    given those that differ, such as the retention; the embedded log has none of its own.
    """
    match settings.log:
        case "embedded":
            from eventlog.embedded import file as embedded

            return await asyncio.to_thread(
                embedded.make, embedded.path_of_log(settings), partitions=settings.log_partitions
            )
        case "kafka":
            from eventlog.kafka.topic import make_topic

            return await make_topic(settings, alter=alter)


async def add_partitions(settings: Settings, *, partitions: int) -> int:
    """Raise the number of partitions, while everything runs; return how many there are. Never removes any."""
    match settings.log:
        case "embedded":
            from eventlog.embedded import file as embedded

            return await asyncio.to_thread(
                embedded.add_partitions, embedded.path_of_log(settings), partitions=partitions
            )
        case "kafka":
            from eventlog.kafka.topic import add_topic_partitions

            return await add_topic_partitions(settings, partitions=partitions)


async def read_setup(settings: Settings) -> Setup:
    """Return how the log is set up; this changes nothing.

    Raises LogUnavailable if it does not answer, NotReady if it refuses us or is of another release, or if its
    file is missing.
    """
    match settings.log:
        case "embedded":
            from eventlog.embedded import file as embedded

            return await asyncio.to_thread(embedded.setup_of, embedded.path_of_log(settings))
        case "kafka":
            from eventlog.kafka.topic import read_topic_setup

            return await read_topic_setup(settings)


async def read_ends(settings: Settings) -> dict[int, int]:
    """Return the offset that the next record of each partition will get; this assigns no partitions.

    Raises NotReady if there is no log, LogUnavailable if it does not answer.
    """
    inspector = open_inspector(settings)
    try:
        return {partition: view.end_offset for partition, view in (await inspector.look({})).items()}
    finally:
        await inspector.close()


def open_inspector(settings: Settings) -> Inspector:
    """Return an inspector of the log; it connects when it is first used."""
    match settings.log:
        case "embedded":
            from eventlog.embedded.inspector import EmbeddedInspector

            return EmbeddedInspector(settings)
        case "kafka":
            from eventlog.kafka.inspector import KafkaInspector

            return KafkaInspector(settings)


async def open_writer(settings: Settings) -> Writer:
    """Open the log for appending. Raises NotReady, which names the remedy, or LogUnavailable."""
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
