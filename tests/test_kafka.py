"""What only the log on Kafka has: its topic, its size limits, TLS and SASL."""

import datetime
import ipaddress
import shlex
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from brokers import Broker, JvmBroker, NoBroker, none_to_be_had
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from log_rigs import KafkaRig, Ledger, read_records, reading, writing

from eventlog.adapters import create_log, open_reader, open_writer
from schemas.faults import LogUnavailable, NotReady
from schemas.settings import Settings


async def topics_of(broker: Broker) -> list[str]:
    """Return the names of the broker's topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def refused_within(within_s: float, call: Callable[[], Awaitable[object]]) -> None:
    """Call until the log is unavailable."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            await call()
        except LogUnavailable:
            return
    pytest.fail(f"still taken after {within_s} s")


async def test_no_topic_is_made_by_using_it(kafka: Broker) -> None:
    """A writer and a reader without a topic are refused and make none, though the broker would let them."""
    rig = KafkaRig(kafka)
    with pytest.raises(NotReady, match="playhead topics"):
        await open_writer(rig.settings())
    with pytest.raises(NotReady, match="playhead topics"):
        await open_reader(rig.settings(), Ledger())
    assert rig.topic not in await topics_of(kafka)


async def test_a_deleted_topic_is_not_made_again(kafka: Broker) -> None:
    """When the topic goes while a writer runs, appends are refused, and it stays gone."""
    rig = KafkaRig(kafka)
    settings = rig.settings(log_append_timeout_s=1.0)
    await create_log(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        async with writing(settings) as writer:
            await writer.append(0, key=b"k", value=b"v")
            await admin.delete_topics([rig.topic])
            await refused_within(20, lambda: writer.append(0, key=b"k", value=b"v"))
            await refused_within(20, writer.check)
    finally:
        await admin.close()
    assert rig.topic not in await topics_of(kafka)


async def test_a_different_topic_is_named(kafka: Broker) -> None:
    """A topic that is there but otherwise than the settings say is refused, each difference by name."""
    rig = KafkaRig(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(rig.topic, 2, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    with pytest.raises(NotReady) as caught:
        await create_log(rig.settings(log_retention_s=3600))
    for difference in (
        "message.timestamp.type is CreateTime, should be LogAppendTime",
        "cleanup.policy is compact, should be delete",
        "retention.ms is 604800000, should be 3600000",
        "max.message.bytes is 1048588",
    ):
        assert difference in str(caught.value)


async def test_too_many_copies_are_refused(kafka: Broker) -> None:
    """A topic that the brokers cannot make is an error that says why."""
    rig = KafkaRig(kafka)
    with pytest.raises(NotReady, match="cannot be made"):
        await create_log(rig.settings(kafka_replication=99))


async def test_the_largest_record_goes_through(kafka: Broker) -> None:
    """A record of the largest size, several batches' worth, is taken and read, among small ones."""
    rig = KafkaRig(kafka)
    settings = rig.settings()
    await create_log(settings)
    largest = bytes(settings.log_record_bytes_max - 1)
    async with writing(settings) as writer, reading(settings) as reader:
        for value in (b"small", largest, b"small"):
            await writer.append(0, key=b"k", value=value)
        assert [len(record.value) for record in await read_records(reader, 3)] == [5, len(largest), 5]


async def test_no_broker_at_the_address() -> None:
    """Where nobody listens, opening fails in time and says so."""
    settings = settings_of("127.0.0.1:1")
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        await open_writer(settings)
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        await create_log(settings)


def settings_of(bootstrap_servers: str, **changes: Any) -> Settings:
    """Return settings that reach a broker."""
    return Settings(log="kafka", kafka_bootstrap_servers=bootstrap_servers, **changes)


def certificate(name: str, folder: Path, *, host: str) -> Path:
    """Make a certificate that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[JvmBroker, Path]]:
    """A broker with a TLS and a SASL listener, and the folder of the certificates."""
    folder = tmp_path_factory.mktemp("secured")
    certificate("right", folder, host="127.0.0.1")
    certificate("other", folder, host="127.0.0.1")
    security = "org.apache.kafka.common.security"
    properties = f"""
listener.name.ssl.ssl.keystore.type=PEM
listener.name.ssl.ssl.keystore.location={folder}/right.pem
sasl.enabled.mechanisms=PLAIN,OAUTHBEARER
listener.name.sasl_plaintext.plain.sasl.jaas.config={security}.plain.PlainLoginModule required user_alice="a word";
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config={security}.oauthbearer.OAuthBearerLoginModule required;
"""
    try:
        broker = JvmBroker(folder / "kafka", listeners=("SSL", "SASL_PLAINTEXT"), properties=properties)
    except NoBroker as reason:
        none_to_be_had([str(reason)])
    else:
        yield broker, folder
        broker.stop()


async def test_tls(secured: tuple[JvmBroker, Path]) -> None:
    """With the right CA all of it works over TLS."""
    broker, folder = secured
    settings = settings_of(
        f"127.0.0.1:{broker.ports['SSL']}",
        kafka_topic=uuid.uuid4().hex,
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=str(folder / "right.pem"),
    )
    await create_log(settings)
    async with writing(settings) as writer, reading(settings) as reader:
        await writer.append(0, key=b"k", value=b"v")
        assert len(await read_records(reader, 1)) == 1


async def test_tls_with_the_wrong_ca(secured: tuple[JvmBroker, Path]) -> None:
    """A broker whose certificate another CA signed is refused, and the reason said."""
    broker, folder = secured
    settings = settings_of(
        f"127.0.0.1:{broker.ports['SSL']}",
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=str(folder / "other.pem"),
    )
    for refused in (open_writer(settings), open_reader(settings, Ledger()), create_log(settings)):
        with pytest.raises(NotReady, match="certificate verify failed"):
            await refused


async def test_tls_with_the_wrong_name(secured: tuple[JvmBroker, Path]) -> None:
    """A broker reached by a name that its certificate does not have is refused, and the reason said."""
    broker, folder = secured
    settings = settings_of(
        f"localhost:{broker.ports['SSL']}",
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=str(folder / "right.pem"),
    )
    with pytest.raises(NotReady, match="Hostname mismatch"):
        await open_writer(settings)


@pytest.mark.parametrize("password", ["a word", "another word"])
async def test_sasl(secured: tuple[JvmBroker, Path], password: str) -> None:
    """The right password opens, a wrong one is refused with the reason."""
    broker, _ = secured
    settings = settings_of(
        f"127.0.0.1:{broker.ports['SASL_PLAINTEXT']}",
        kafka_topic=uuid.uuid4().hex,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="alice",
        kafka_sasl_password=password,
    )
    if password == "a word":
        await create_log(settings)
        async with writing(settings) as writer:
            await writer.append(0, key=b"k", value=b"v")
    else:
        with pytest.raises(NotReady, match="refuses us"):
            await create_log(settings)


TOKEN = """
import base64, json, time
def part(claims): return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
now = int(time.time())
print(part({"alg": "none"}) + "." + part({"sub": "alice", "iat": now, "exp": now + 600}) + ".")
"""


@pytest.mark.parametrize("program", [TOKEN, "raise SystemExit(3)"], ids=["a token", "no token"])
async def test_tokens_of_a_command(secured: tuple[JvmBroker, Path], tmp_path: Path, program: str) -> None:
    """The token that the operator's command prints opens; a command that fails is refused with the reason."""
    broker, _ = secured
    command = tmp_path / "token.py"
    command.write_text(program)
    settings = settings_of(
        f"127.0.0.1:{broker.ports['SASL_PLAINTEXT']}",
        kafka_topic=uuid.uuid4().hex,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="OAUTHBEARER",
        kafka_oauth_token_command=shlex.join([sys.executable, str(command)]),
    )
    if program is TOKEN:
        await create_log(settings)
        async with writing(settings) as writer:
            await writer.append(0, key=b"k", value=b"v")
    else:
        with pytest.raises(NotReady, match="the token command ended with 3"):
            await create_log(settings)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"kafka_bootstrap_servers": ""}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"kafka_security_protocol": "SASL_SSL"}, "KAFKA_SASL_PASSWORD"),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "OAUTHBEARER"},
            "OAUTH_TOKEN_COMMAND",
        ),
        ({"kafka_security_protocol": "SSL", "kafka_ssl_cafile": "/no/such/file"}, "certificates"),
    ],
)
async def test_what_is_missing_is_named(changes: dict[str, Any], missing: str) -> None:
    """Settings that need another one say which."""
    with pytest.raises(NotReady, match=missing):
        await open_writer(settings_of("127.0.0.1:1").model_copy(update=changes))
