"""The log on Apache Kafka: one topic, made by `playhead topics`, written and read with aiokafka.

What aiokafka does by itself, and what this file therefore does:

* With idempotence a batch is retried for as long as it takes, also when no broker is left, and `stop()` waits for
  it. So the deadline of an append is ours (appends.py), and one batch a partition is under way at a time: an
  outage holds a megabyte a partition, not a backlog.
* A batch that failed for good leaves a hole in the producer's sequence numbers, and every later one fails. So
  after any failed batch the producer is given up and one new one is made, however many partitions noticed.
* `send_batch` makes a topic it does not know (where brokers allow it), and so does subscribing by name. So
  partitions are looked up first, and the reader subscribes by pattern.
* A batch that cannot be unpacked is an exception out of `getmany` that names no partition, keeps back good
  batches before it, and loses records of other partitions that the consumer had counted as delivered. So the
  partitions are sought to their positions again, and those that may hold the batch are read record by record,
  until it is the first of one.
* After an assignment the consumer delivers from the group's committed offset until a `seek`. So it is asked for
  nothing but partitions that were sought to the owner's position since they were assigned, and the first offset
  delivered is compared with the one asked for. Errors that mean "not yours just now" are normal in a rebalance.

The topic keeps the broker's own clock (LogAppendTime): aiokafka would stamp ours.
"""

import asyncio
import gzip
import os
import shlex
import ssl
import struct
from collections.abc import Coroutine
from typing import Any

import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    CorruptRecordException,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)

from schemas.faults import Fault, LogUnavailable, NotReady
from schemas.settings import Settings, listed, without_settings

METADATA_MAX_AGE_MS = 5_000
RETRY_S = 0.25
STOP_S = 0.5
WHY_MS_MAX = 2_000
ALERT_S = 1.0
HEADERS_BYTES = 1_048_576
BATCH_HEADER = struct.Struct(">qiibIhi")  # base offset, length, leader's epoch, magic, CRC, attributes, last delta
BATCH_PREFIX_BYTES = 12
MAGIC_WITH_DELTA = 2

# What a client that cannot connect, or no longer, raises.
UNREACHABLE = (KafkaError, OSError, TimeoutError)
# What a client raises that the brokers do not want, or that does not want them.
REFUSED = (
    ssl.SSLError,
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    AuthenticationMethodNotSupported,
)

# What a client raises for a batch that it cannot decompress, besides the codecs' own errors. (The last is an
# OSError.)
UNREADABLE = (CorruptRecordException, UnsupportedCodecError, gzip.BadGzipFile)

logger = structlog.get_logger(__name__)


class Unreadable(Exception):  # noqa: N818  (of some partition: a fault follows when it is known of which)
    """A batch of one of the partitions asked for cannot be unpacked."""


class CommandTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens for OAUTHBEARER, printed by a command of the operator's."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    async def token(self) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._command, env=without_settings(os.environ), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise AuthenticationFailedError(f"the token command ended with {process.returncode}")
        return output.decode().strip()


def client_options(settings: Settings) -> dict[str, Any]:
    """Return the options common to producer, consumer and admin client. Raises NotReady."""
    if not settings.kafka_bootstrap_servers:
        raise NotReady("PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS is not set: host:port,... of some of Kafka's brokers")
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "request_timeout_ms": int(max(5.0, settings.log_append_timeout_s) * 1000),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            if not settings.kafka_oauth_token_command:
                raise NotReady("PLAYHEAD_KAFKA_OAUTH_TOKEN_COMMAND is not set, and OAUTHBEARER needs it")
            options["sasl_oauth_token_provider"] = CommandTokens(settings.kafka_oauth_token_command)
        else:
            if not settings.kafka_sasl_username or settings.kafka_sasl_password is None:
                raise NotReady("PLAYHEAD_KAFKA_SASL_USERNAME and PLAYHEAD_KAFKA_SASL_PASSWORD must be set")
            options["sasl_plain_username"] = settings.kafka_sasl_username
            options["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
        if settings.kafka_ssl_certfile:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None)
    except OSError as error:
        raise NotReady(f"the certificates for Kafka cannot be used: {error}") from error
    return context


async def why_unreachable(settings: Settings, error: BaseException) -> Fault:
    """Find out why no broker could be spoken to: aiokafka logs the reason, but does not say it.

    All are asked at once: brokers that do not answer take the time of one, and that is short, because whoever asks
    has waited for them already.
    """
    options = client_options(settings)
    options["request_timeout_ms"] = min(options["request_timeout_ms"], WHY_MS_MAX)
    servers = listed(options.pop("bootstrap_servers"))
    reasons = await asyncio.gather(*(_why_no_connection(server, options) for server in servers))
    refusal = next((reason for reason in reasons if isinstance(reason, NotReady)), None)
    said = "; ".join(reason for reason in reasons if isinstance(reason, str))
    return refusal or LogUnavailable(f"Kafka cannot be reached: {said or error or type(error).__name__}")


async def _why_no_connection(server: str, options: dict[str, Any]) -> NotReady | str | None:
    """Return why a broker cannot be spoken to: that it refuses us, or another reason; None if it can."""
    host, _, port = server.rpartition(":")
    try:
        connection = await create_conn(host.strip("[]"), int(port), **options)
    except REFUSED as reason:
        return NotReady(f"{server} refuses us or is not who it should be: {reason}")
    except UNREACHABLE as reason:
        if alert := await _alert(host.strip("[]"), int(port), options.get("ssl_context")):
            return NotReady(f"{server} refuses us: {alert}")
        return f"{server}: {reason or type(reason).__name__}"
    connection.close()
    return None


async def _alert(host: str, port: int, context: ssl.SSLContext | None) -> ssl.SSLError | None:
    """Return why a broker ends a TLS connection, if it gives a reason; aiokafka only sees it closed.

    In TLS 1.3 a broker that requires a certificate, or another one, reports it after the client's handshake is
    done.
    """
    if context is None:
        return None
    try:
        # The handshake has a limit of its own, because asyncio leaks a connection that is cancelled in it.
        async with asyncio.timeout(3 * ALERT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, ssl_handshake_timeout=ALERT_S)
            try:
                async with asyncio.timeout(ALERT_S):
                    await reader.read(1)
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)  # transports close in the loop's next round
    except ssl.SSLError as alert:
        return alert
    except OSError:
        return None  # it cannot be reached, which is the reason already known; or it waits for us to begin
    return None


def absent(settings: Settings) -> NotReady:
    """Return the fault for a missing topic."""
    return NotReady(f"there is no topic {settings.kafka_topic}: `playhead topics` makes it")


async def _ended(ending: Coroutine[Any, Any, None], *, within_s: float) -> bool:
    """End a client, and say whether it ended well in time. A task of its own, for clients cancel what waits."""
    task = asyncio.ensure_future(ending)
    await asyncio.wait({task}, timeout=within_s)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=within_s)
    await asyncio.sleep(0)  # transports close in the loop's next round
    if task.done() and not task.cancelled() and task.exception() is None:
        return True
    logger.info("log client left behind", after_s=within_s)
    return False


def end_of_batch(batches: bytes) -> int | None:
    """Return the offset behind the first of these batches, as they come from a broker; None if it is not said.

    The next batch says it best: brokers find their way by those numbers. Else the first one's own header has it.
    """
    if len(batches) < BATCH_HEADER.size:
        return None
    base_offset, length, _, magic, _, _, last_delta = BATCH_HEADER.unpack_from(batches)
    if 0 < length <= len(batches) - 2 * BATCH_PREFIX_BYTES:
        return int.from_bytes(batches[BATCH_PREFIX_BYTES + length :][:8])
    return int(base_offset + last_delta + 1 if magic >= MAGIC_WITH_DELTA else base_offset + 1)
