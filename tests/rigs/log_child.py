"""A process that writes or reads a log, for tests that kill it or take its disk away.

SETTINGS write COUNT NAME | SETTINGS fill BYTES | SETTINGS read
"""

import asyncio
import resource
import signal
import sys

import structlog

from eventlog.adapters import open_reader, open_writer
from schemas.faults import LogUnavailable
from schemas.settings import Settings


async def write(settings: Settings, count: int, name: str) -> None:
    """Append one record after the other and print each offset as soon as it is durable."""
    writer = await open_writer(settings)
    for number in range(count):
        appended = await writer.append(0, key=name.encode(), value=f"{name} {number}".encode())
        print(appended.offset, flush=True)
    await writer.close()


async def fill(settings: Settings, limit_bytes: int) -> None:
    """Append until files may not grow any more, then go on when they may again."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    writer = await open_writer(settings)
    refused = 0
    while refused < 3:
        try:
            print((await writer.append(0, key=b"k", value=bytes(20_000))).offset, flush=True)
        except LogUnavailable:
            refused += 1
    print("full", flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    taken = 0
    while taken < 10:
        try:
            print((await writer.append(0, key=b"k", value=bytes(20_000))).offset, flush=True)
            taken += 1
        except LogUnavailable:
            refused += 1
            if refused > 50:
                raise
    print("done", flush=True)
    await writer.close()


class Talker:
    """An owner that says what it is asked."""

    async def acquire(self, partition: int) -> int:
        print("assigned", partition, flush=True)
        return 0

    async def release(self, partitions: object) -> None:
        print("released", partitions, flush=True)


async def read(settings: Settings) -> None:
    """Read until killed."""
    reader = await open_reader(settings, Talker())
    while True:
        await reader.read(records_max=1000, timeout_s=1.0)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = Settings.model_validate_json(sys.argv[1])
    match sys.argv[2:]:
        case ["write", count, name]:
            asyncio.run(write(settings, int(count), name))
        case ["fill", limit_bytes]:
            asyncio.run(fill(settings, int(limit_bytes)))
        case _:
            asyncio.run(read(settings))
