"""What only the log on Kafka has: its topic, its size limits, TLS and SASL."""

import asyncio
import datetime
import ipaddress
import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rigs.brokers import Broker, JvmBroker, NoBroker, none_to_be_had
from rigs.logs import KafkaRig, Ledger, read_records, reading, writing
from rigs.processes import started
from rigs.waiting import until_async

from eventlog import Setup
from eventlog.adapters import create_log, open_reader, open_writer, read_setup
from schemas.faults import LogUnavailable, NotReady
from schemas.settings import Settings, environment_of

ROOT = Path(__file__).parents[2]


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

    async def is_refused() -> bool:
        try:
            await call()
        except LogUnavailable:
            return True
        return False

    await until_async(is_refused, "it is still taken", within_s=within_s)


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
    """A topic that does not match the settings is refused, and each difference is named."""
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


async def test_a_different_topic_is_altered_if_it_is_wanted(kafka: Broker) -> None:
    """Its settings become those that it should have; one that somebody else has made stays."""
    rig = KafkaRig(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(rig.topic, 2, 1, topic_configs={"flush.messages": "77"})])
        for retention_s in (3_600, 7_200):
            settings = rig.settings(log_retention_s=retention_s)
            with pytest.raises(NotReady, match="`playhead topics --alter`"):
                await create_log(settings)
            assert await create_log(settings, alter=True) == 2
            assert await create_log(settings) == 2
        [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, rig.topic)])
    finally:
        await admin.close()
    entries = response.to_object()["resources"][0]["config_entries"]
    own = {entry["config_names"]: entry["config_value"] for entry in entries}
    assert own["flush.messages"] == "77"
    assert own["retention.ms"] == "7200000"


async def test_too_many_copies_are_refused(kafka: Broker) -> None:
    """If brokers cannot create the topic, the error gives their reason."""
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


async def test_the_ten_lines_of_the_readme_read_the_topic(kafka: Broker, tmp_path: Path) -> None:
    """A plain consumer, as the page has it, prints what Playhead wrote."""
    rig = KafkaRig(kafka)
    await rig.make()
    value = b'{"type": "playhead.media.play", "subject": "0123456789abcdef0123", "data": {"eventType": "play"}}'
    async with writing(rig.settings()) as writer:
        await writer.append(0, key=b"k", value=value)
    programs = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (program,) = (program for program in programs if "aiokafka" in program)
    program = program.replace("localhost:9092", kafka.bootstrap_servers).replace("playhead.events", rig.topic)
    with started([sys.executable, "-u", "-c", program], log=tmp_path / "consumer.log") as consumer:
        await asyncio.to_thread(consumer.wait_for, lambda: "\n" in consumer.output)
        assert consumer.output == "playhead.media.play 0123456789abcdef {'eventType': 'play'}\n"


async def test_no_broker_at_the_address() -> None:
    """If no broker listens, opening fails in time, with that reason."""
    settings = settings_of("127.0.0.1:1")
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        await open_writer(settings)
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        await create_log(settings)


def settings_of(bootstrap_servers: str, **changes: Any) -> Settings:
    """Return settings that reach a broker."""
    return Settings(log="kafka", kafka_bootstrap_servers=bootstrap_servers, **changes)


def certificate(name: str, folder: Path, *, signed_by: str = "") -> None:
    """Make a certificate for 127.0.0.1, signed by another one or itself: <name>.crt, with its key <name>.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing_key = key
    if signed_by:
        issuer = x509.load_pem_x509_certificate((folder / f"{signed_by}.crt").read_bytes()).subject
        loaded = serialization.load_pem_private_key((folder / f"{signed_by}.pem").read_bytes(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signing_key = loaded
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=not signed_by, path_length=None), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM)
    (folder / f"{name}.crt").write_bytes(text)
    (folder / f"{name}.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + text
    )


PASSWORD = "a word"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[JvmBroker, Path]]:
    """A broker with TLS and SASL listeners, and the folder of certificates: two CAs, the broker, two clients."""
    folder = tmp_path_factory.mktemp("secured")
    for name, signed_by in {"ca": "", "other": "", "broker": "ca", "client": "ca", "stranger": "other"}.items():
        certificate(name, folder, signed_by=signed_by)
    security = "org.apache.kafka.common.security"
    plain = f'{security}.plain.PlainLoginModule required user_alice="{PASSWORD}" user_bob="{PASSWORD}";'
    scram = f"{security}.scram.ScramLoginModule required;"
    keystores = [
        f"listener.name.{listener}.ssl.keystore.{line}"
        for listener in ("ssl", "mutual", "sasl_ssl")
        for line in ("type=PEM", f"location={folder}/broker.pem")
    ]
    lines = [
        *keystores,
        "listener.name.mutual.ssl.client.auth=required",
        "listener.name.mutual.ssl.truststore.type=PEM",
        f"listener.name.mutual.ssl.truststore.location={folder}/ca.crt",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:ANONYMOUS;User:alice;User:CN=client",
        f"sasl.enabled.mechanisms={','.join(MECHANISMS)},OAUTHBEARER",
        f"listener.name.sasl_plaintext.plain.sasl.jaas.config={plain}",
        f"listener.name.sasl_ssl.plain.sasl.jaas.config={plain}",
        *(f"listener.name.sasl_ssl.{name.lower()}.sasl.jaas.config={scram}" for name in MECHANISMS[1:]),
        "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config="
        f"{security}.oauthbearer.OAuthBearerLoginModule required;",
        "listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,OAUTHBEARER",
        f"listener.name.sasl_ssl.sasl.enabled.mechanisms={','.join(MECHANISMS)}",
    ]
    try:
        broker = JvmBroker(
            folder / "kafka",
            listeners=("SSL", "MUTUAL", "SASL_PLAINTEXT", "SASL_SSL"),
            properties="\n".join(lines),
            scram=tuple(f"{name}=[name=alice,password={PASSWORD}]" for name in MECHANISMS[1:]),
        )
    except NoBroker as reason:
        none_to_be_had([str(reason)])
    else:
        yield broker, folder
        broker.stop()


async def passes_through(settings: Settings) -> None:
    """Make a topic, append a record and read it."""
    await create_log(settings)
    async with writing(settings) as writer, reading(settings) as reader:
        await writer.append(0, key=b"k", value=b"v")
        assert len(await read_records(reader, 1)) == 1
    await is_disconnected(settings)


async def is_disconnected(settings: Settings) -> None:
    """Wait until no connection to the broker is left: one with TLS closes when the broker has closed it too."""
    ports = {int(server.rpartition(":")[2]) for server in settings.kafka_bootstrap_servers.split(",")}

    def none_is_left() -> bool:
        return not any(line.raddr and line.raddr.port in ports for line in psutil.Process().net_connections("tcp"))

    await until_async(none_is_left, "a connection to the broker is left", within_s=30)


async def is_refused(settings: Settings, *, why: str) -> None:
    """Writing, reading and creating the topic all fail within seconds, with the reason."""
    began = time.monotonic()
    for refused in (open_writer(settings), open_reader(settings, Ledger()), create_log(settings)):
        with pytest.raises(NotReady, match=why):
            await refused
    assert time.monotonic() - began < 10
    await is_disconnected(settings)


def secured_settings(broker: JvmBroker, listener: str, *, host: str = "127.0.0.1", **changes: Any) -> Settings:
    """Return settings that reach a listener of the secured broker, with a topic and group of their own."""
    protocol = "SSL" if listener == "MUTUAL" else listener
    name = uuid.uuid4().hex
    return settings_of(
        f"{host}:{broker.ports[listener]}",
        **{"kafka_topic": name, "kafka_group": name, "kafka_security_protocol": protocol, **changes},
    )


async def test_tls(secured: tuple[JvmBroker, Path]) -> None:
    """With the right CA all of it works over TLS."""
    broker, folder = secured
    await passes_through(secured_settings(broker, "SSL", kafka_ssl_cafile=str(folder / "ca.crt")))


async def test_tls_with_the_wrong_ca(secured: tuple[JvmBroker, Path]) -> None:
    """A broker whose certificate another CA signed is refused, and the reason said."""
    broker, folder = secured
    settings = secured_settings(broker, "SSL", kafka_ssl_cafile=str(folder / "other.crt"))
    await is_refused(settings, why="certificate verify failed")


async def test_tls_with_the_wrong_name(secured: tuple[JvmBroker, Path]) -> None:
    """A broker reached by a name that its certificate does not have is refused, and the reason said."""
    broker, folder = secured
    settings = secured_settings(broker, "SSL", host="localhost", kafka_ssl_cafile=str(folder / "ca.crt"))
    await is_refused(settings, why="Hostname mismatch")


async def test_a_certificate_of_our_own(secured: tuple[JvmBroker, Path]) -> None:
    """Where brokers ask for a certificate, one that their CA signed opens."""
    broker, folder = secured
    settings = secured_settings(
        broker,
        "MUTUAL",
        kafka_ssl_cafile=str(folder / "ca.crt"),
        kafka_ssl_certfile=str(folder / "client.crt"),
        kafka_ssl_keyfile=str(folder / "client.pem"),
    )
    await passes_through(settings)


@pytest.mark.parametrize("certfile", ["", "stranger.pem"], ids=["none", "another CA's"])
async def test_a_certificate_that_brokers_do_not_want(secured: tuple[JvmBroker, Path], certfile: str) -> None:
    """Without a certificate, or with one of another CA, the broker's refusal is the reason that is given."""
    broker, folder = secured
    settings = secured_settings(
        broker,
        "MUTUAL",
        kafka_ssl_cafile=str(folder / "ca.crt"),
        kafka_ssl_certfile=str(folder / certfile) if certfile else "",
    )
    await is_refused(settings, why="refuses us.*certificate")


def sasl_over_tls(secured: tuple[JvmBroker, Path], mechanism: str = MECHANISMS[-1], **changes: Any) -> Settings:
    """Return settings for SASL over TLS with all that is right, but for the changes."""
    broker, folder = secured
    wanted = {
        "kafka_ssl_cafile": str(folder / "ca.crt"),
        "kafka_sasl_mechanism": mechanism,
        "kafka_sasl_username": "alice",
        "kafka_sasl_password": PASSWORD,
    }
    return secured_settings(broker, "SASL_SSL", **{**wanted, **changes})


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_sasl_over_tls(secured: tuple[JvmBroker, Path], mechanism: str) -> None:
    """The right password opens, over TLS, with each way to prove it."""
    await passes_through(sasl_over_tls(secured, mechanism))


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("wrong", ["kafka_sasl_password", "kafka_sasl_username"])
async def test_sasl_over_tls_with_the_wrong_password(
    secured: tuple[JvmBroker, Path], mechanism: str, wrong: str
) -> None:
    """A wrong password, or a user that there is not, is refused with the reason."""
    await is_refused(sasl_over_tls(secured, mechanism, **{wrong: "another word"}), why="refuses us.*uthentication")


async def test_no_password_goes_to_a_broker_that_is_not_the_right_one(secured: tuple[JvmBroker, Path]) -> None:
    """With SASL too a broker of another CA, or with another name, is refused before anything is sent."""
    _, folder = secured
    await is_refused(
        sasl_over_tls(secured, kafka_ssl_cafile=str(folder / "other.crt")), why="certificate verify failed"
    )
    await is_refused(sasl_over_tls(secured, host="localhost"), why="Hostname mismatch")


def test_the_command_says_why_it_does_not_start(secured: tuple[JvmBroker, Path]) -> None:
    """`playhead` ends with status 2 and one line that gives the reason, and never the password."""
    settings = sasl_over_tls(secured, kafka_sasl_password="another word")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "playhead"), "topics"],
        env={"PATH": os.environ["PATH"], **environment_of(settings)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "refuses us" in done.stderr
    assert "another word" not in done.stdout + done.stderr


def alice(broker: JvmBroker, password: str) -> Settings:
    """Return the settings of a user who logs in by password, without TLS."""
    return secured_settings(
        broker,
        "SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="alice",
        kafka_sasl_password=password,
    )


@pytest.mark.parametrize("password", [PASSWORD, "another word"])
async def test_sasl(secured: tuple[JvmBroker, Path], password: str) -> None:
    """Without TLS as well the right password opens, and a wrong one is refused with the reason."""
    broker, _ = secured
    settings = alice(broker, password)
    if password == PASSWORD:
        await passes_through(settings)
    else:
        await is_refused(settings, why="refuses us")


async def test_a_user_without_rights_is_told_which_to_get(secured: tuple[JvmBroker, Path]) -> None:
    """A topic that he may not even see is not taken for a missing one; a super user lacks nothing."""
    broker, _ = secured
    settings = alice(broker, PASSWORD)
    missing = await read_setup(settings)
    assert "`playhead topics` makes it" in missing.mistakes[0]
    await create_log(settings)
    assert await read_setup(settings) == Setup(1)
    found = await read_setup(settings.model_copy(update={"kafka_sasl_username": "bob"}))
    assert found.partitions is None
    assert found.no_append == f"we may not append to topic {settings.kafka_topic}: allow Write on it"
    assert f"allow Read on it and on group {settings.kafka_group}" in (found.no_read or "")
    assert "allow Describe on it" in (found.unknown or "")
    await is_disconnected(settings)


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
    settings = secured_settings(
        broker,
        "SASL_PLAINTEXT",
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
    """A setting that needs another one names it."""
    with pytest.raises(NotReady, match=missing):
        await open_writer(settings_of("127.0.0.1:1").model_copy(update=changes))
