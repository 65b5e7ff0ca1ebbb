"""A real Kafka broker for the tests.

The first that can be had: the address in KAFKA_BOOTSTRAP_SERVERS; a container, where a container engine answers;
a broker on the JVM, its jars from Maven Central kept in a cache folder; none, which is a skip with the reason, and
a failure where CI is set.

    kafka       the one broker of the session, as `Broker`
    kafka_cluster   three brokers of the test's own
    own_kafka   a broker of the test's own, to be killed and restarted
    pausable_kafka   one of the two: what may be paused and goes on as if nothing had been
"""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from rigs.containers import has_container_engine
from rigs.processes import Process

POM = Path(__file__).parent / "kafka_pom.xml"
CLASSES = "classes.jsa"  # next to the jars: the classes of a running broker as the JVM maps them; halves its start
MAIN = "kafka.Kafka"
UP_WITHIN_S = 60.0

# A broker that was killed comes back once its session is over.
PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{more_listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more_advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,\\
    SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=true
num.network.threads=2
num.io.threads=2
{more}
"""


class Broker(Protocol):
    """A broker somewhere."""

    bootstrap_servers: str


class OwnBroker(Broker, Protocol):
    """A broker that we run, and what a test may do to it."""

    def pause(self) -> None:
        """Let it answer nobody, connections stay open."""

    def resume(self) -> None:
        """Let it answer again."""


class NoBroker(Exception):  # noqa: N818  (a reason, not an error)
    """No broker can be had this way; the message says why."""


class GivenBroker:
    """A broker that somebody else runs."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers


class ContainerBroker:
    """A broker in a container. Raises NoBroker if no container engine answers."""

    def __init__(self) -> None:
        if not has_container_engine():
            raise NoBroker("no container engine answers")
        from testcontainers.community.kafka import KafkaContainer

        self._container = KafkaContainer().with_kraft()
        self._container.start()
        self.bootstrap_servers: str = self._container.get_bootstrap_server()

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()

    def stop(self) -> None:
        self._container.stop()


class JvmBroker:
    """A broker on the JVM, with its data in `folder`; it can be killed and started again at the same address.

    `listeners` are further ones by protocol (SSL, SASL_PLAINTEXT, SASL_SSL, and MUTUAL: SSL that asks for a
    certificate), `properties` further lines of its file, `scram` users as its format tool wants them; `node` is
    its number in a cluster whose controllers have these ports; `jars_folder` as `jars()` returns it.
    Raises NoBroker if java or mvn is missing, or Maven Central does not answer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listeners: tuple[str, ...] = (),
        properties: str = "",
        scram: tuple[str, ...] = (),
        node: int = 1,
        controller_ports: Sequence[int] = (),
        jars_folder: Path | None = None,
    ) -> None:
        self._jars = jars_folder or jars()
        folder.mkdir(parents=True)
        self._folder = folder
        self.port, own_port, *more = free_ports(2 + len(listeners))
        controller_ports = controller_ports or (own_port,)
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controller_ports, 1))
        self.ports = dict(zip(listeners, more, strict=True))
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self._properties = folder / "server.properties"
        also = "".join(f",{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        self._properties.write_text(
            PROPERTIES.format(
                port=self.port,
                node=node,
                voters=voters,
                controller_port=controller_ports[node - 1],
                folder=folder,
                more_listeners=also,
                more_advertised=also,
                more=properties,
            )
        )
        self._process: Process | None = None
        users = [argument for user in scram for argument in ("--add-scram", user)]
        options = ["-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", str(self._properties), *users]
        self._java("kafka.tools.StorageTool", "format", *options)
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [*self._command(MAIN), self._properties]
        self._process = Process(command, log=self._folder / "broker.log")
        try:
            self._process.wait_for(self._answers, within_s=UP_WITHIN_S)
        except (AssertionError, OSError) as error:
            raise NoBroker(f"the broker did not come up: {error}") from error

    def _answers(self) -> bool:
        for port in (self.port, *self.ports.values()):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def output(self) -> str:
        """What it has written so far."""
        return (self._folder / "broker.log").read_text(errors="replace")

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()

    def pause(self) -> None:
        assert self._process is not None
        self._process.pause()

    def resume(self) -> None:
        assert self._process is not None
        self._process.resume()

    def stop(self) -> None:
        """End it for good, with its data."""
        self.kill()
        shutil.rmtree(self._folder)

    def end(self) -> None:
        """End it as an operator does; if there is no archive of classes, it leaves one."""
        assert self._process is not None
        self._process.end()

    def _command(self, main: str) -> list[str]:
        options = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.awt.headless=true"]
        classes = self._jars / CLASSES
        if classes.exists():
            options.append(f"-XX:SharedArchiveFile={classes}")
        elif main == MAIN:
            options.append(f"-XX:ArchiveClassesAtExit={classes}")
        return ["java", *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{self._jars}/*", main]

    def _java(self, main: str, *arguments: str) -> None:
        done = subprocess.run([*self._command(main), *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoBroker(f"{main} failed: {done.stdout}{done.stderr}")


class JvmCluster:
    """Three brokers on the JVM. Raises NoBroker as `JvmBroker` does."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(3)
        with ThreadPoolExecutor() as threads:  # none is up before most are
            starting = [
                threads.submit(
                    JvmBroker,
                    folder / f"kafka-{node}",
                    properties="offsets.topic.replication.factor=3",
                    node=node,
                    controller_ports=ports,
                )
                for node in (1, 2, 3)
            ]
        self.brokers = {node: started.result() for node, started in enumerate(starting, 1)}
        self.bootstrap_servers = ",".join(broker.bootstrap_servers for broker in self.brokers.values())

    def stop(self) -> None:
        """End all for good."""
        for broker in self.brokers.values():
            broker.stop()


def jars() -> Path:
    """Return the folder of the broker's jars, and fetch them from Maven Central the first time."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        raise NoBroker(f"{' and '.join(missing)} not installed")
    version = xml.etree.ElementTree.parse(POM).findtext(".//{*}dependency/{*}version")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "playhead-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"kafka-{version}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fetched = cache / "fetching"
            shutil.rmtree(fetched, ignore_errors=True)
            done = subprocess.run(
                ["mvn", "-q", "-B", "-f", POM, "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise NoBroker(f"Maven could not fetch the broker: {done.stdout[-2000:]}")
            fetched.rename(folder)
        if not (folder / CLASSES).exists():
            with tempfile.TemporaryDirectory(prefix="playhead-kafka-") as data:
                JvmBroker(Path(data) / "kafka", jars_folder=folder).end()
    return folder


def free_ports(count: int) -> list[int]:
    """Return so many ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()


def none_to_be_had(reasons: list[str]) -> None:
    """Skip, or fail where CI promises a broker."""
    message = f"no Kafka broker: {'; '.join(reasons)}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def some_broker(folder: Path) -> Iterator[Broker]:
    """Have the first broker that can be had."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield GivenBroker(given)
        return
    reasons = []
    for make in (ContainerBroker, lambda: JvmBroker(folder / "kafka")):
        try:
            broker = make()
        except NoBroker as reason:
            reasons.append(str(reason))
            continue
        try:
            yield broker
        finally:
            broker.stop()
        return
    none_to_be_had(reasons)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The one broker of the session."""
    with some_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[JvmBroker]:
    """A broker of the test's own."""
    try:
        broker = JvmBroker(tmp_path / "kafka")
    except NoBroker as reason:
        none_to_be_had([str(reason)])
    else:
        yield broker
        broker.stop()


@pytest.fixture
def kafka_cluster(tmp_path: Path) -> Iterator[JvmCluster]:
    """Three brokers of the test's own."""
    try:
        cluster = JvmCluster(tmp_path)
    except NoBroker as reason:
        none_to_be_had([str(reason)])
    else:
        yield cluster
        cluster.stop()


@pytest.fixture
def pausable_kafka(kafka: Broker, request: pytest.FixtureRequest) -> OwnBroker:
    """The broker of the session if it is ours to pause, else one of the test's own."""
    broker: OwnBroker
    broker = kafka if isinstance(kafka, ContainerBroker | JvmBroker) else request.getfixturevalue("own_kafka")
    return broker
