"""What is shipped to run Playhead elsewhere: compose.yaml, Containerfile and the secrets they need.

The image is really built, on a Debian that debootstrap makes, and its processes are run from it, without any
registry of images: `make test-image`, as root, with buildah, podman and debootstrap installed.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from rigs.brokers import POM, Broker, free_ports
from rigs.commands import PLAYHEAD
from rigs.postgres import VERSION
from rigs.processes import Process, started
from rigs.programs import tool
from rigs.waiting import until
from typer.testing import CliRunner

from playhead import app
from schemas.settings import METRICS_PORTS, read_settings

ROOT = Path(__file__).parents[2]
OURS = ("init", "ingest", "worker", "upkeep", "backup", "notebooks")
TARGETS = ("ingest", "full")  # of the Containerfile
USER = 10001
TOOLS = ("buildah", "podman", "debootstrap")
OPTIONAL = re.compile(r"\$\{(\w+):-([^}]*)\}")
MOUNTED = "/run/secrets/"


@pytest.fixture
def compose() -> dict[str, Any]:
    """What compose.yaml says."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return compose


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Any]:
    """The services of compose.yaml."""
    services: dict[str, Any] = compose["services"]
    return services


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, Path]:
    """The files that `make secrets` makes, by their names."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["make", "--silent", "secrets"], cwd=tmp_path, check=True)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    return {path.name: path for path in (tmp_path / "secrets").iterdir()}


@pytest.mark.parametrize("service", OURS)
def test_every_variable_in_compose_is_a_setting(
    service: str, services: dict[str, Any], secrets: dict[str, Path]
) -> None:
    """Each variable of our services is one that Playhead knows, with a value that it takes."""
    variables = {name: value for name, value in services[service]["environment"].items() if name != "HOME"}
    assert all(name.startswith("PLAYHEAD_") for name in variables)
    folder = next(iter(secrets.values())).parent
    filled = {name: OPTIONAL.sub(r"\2", value).replace(MOUNTED, f"{folder}/") for name, value in variables.items()}
    settings = read_settings(filled)
    if service not in ("upkeep", "backup", "notebooks"):
        assert settings.log == "kafka"
    if service == "ingest":
        assert settings.keys_of_api()
        assert len(settings.keys_of_mac()) == 1, "there is no previous key unless keys are rotated"
    else:
        assert settings.lake_catalog_password is not None
        assert settings.lake_files == "/data/files"


def test_secrets_come_from_files(
    compose: dict[str, Any], services: dict[str, Any], secrets: dict[str, Path]
) -> None:
    """`make secrets` makes all of them, no two alike; no service has one in its environment, nor one too many."""
    assert compose["secrets"] == {name: {"file": f"secrets/{name}"} for name in secrets}
    contents = {name: path.read_text().strip() for name, path in secrets.items()}
    assert contents.pop("mac_key_previous") == ""
    assert len({*contents.values()}) == len(contents) == 4
    assert all(len(secret) >= 43 for secret in contents.values())
    for name, service in services.items():
        wanted = {value for value in service.get("environment", {}).values() if value.startswith(MOUNTED)}
        assert wanted == {MOUNTED + secret for secret in service.get("secrets", [])}, name
        given = {
            variable for variable in service.get("environment", {}) if re.search("PASSWORD|KEY|SECRET", variable)
        }
        assert all(variable.endswith("_FILE") for variable in given), name
    text = (ROOT / "compose.yaml").read_text()
    assert all(name.endswith(("_PORT", "_IMAGE")) for name, _ in OPTIONAL.findall(text))


def test_secrets_are_kept_once_made(tmp_path: Path, secrets: dict[str, Path]) -> None:
    """`make secrets` replaces none that are in use, and all users of a container can read them."""
    before = {name: path.read_text() for name, path in secrets.items()}
    subprocess.run(["make", "--silent", "secrets"], cwd=tmp_path, check=True)
    assert {name: path.read_text() for name, path in secrets.items()} == before
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.values()} == {0o444}


def test_secrets_of_an_env_file_are_taken_over(tmp_path: Path) -> None:
    """Where releases before had them: another pseudonym key would make every viewer new."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".env").write_text("PLAYHEAD_PSEUDONYM_KEY=a=key=\nPLAYHEAD_LAKE_CATALOG_PASSWORD=word\n")
    subprocess.run(["make", "--silent", "secrets"], cwd=tmp_path, check=True)
    found = {
        name: (tmp_path / "secrets" / name).read_text() for name in ("pseudonym_key", "lake_catalog_password")
    }
    assert found == {"pseudonym_key": "a=key=\n", "lake_catalog_password": "word\n"}


def test_broker_and_database_are_those_of_the_tests(services: dict[str, Any]) -> None:
    """The broker's version is the same, and the database's that of the container which tests use."""
    images = {name: OPTIONAL.sub(r"\2", service["image"]) for name, service in services.items()}
    version = xml.etree.ElementTree.parse(POM).findtext(".//{*}dependency/{*}version")
    assert images["kafka"] == f"apache/kafka:{version}"
    assert images["postgres"] == f"postgres:{VERSION}"
    others = {name for name, service in services.items() if not images[name].startswith("playhead")}
    assert all(OPTIONAL.fullmatch(services[name]["image"]) for name in others), "a digest can be given"


@pytest.mark.parametrize("service", OURS)
def test_our_services_may_do_little(service: str, services: dict[str, Any]) -> None:
    """Our processes have a read-only root, no capabilities and bounds; what they wait for is there and healthy."""
    of_service = services[service]
    assert of_service["read_only"] is True
    assert of_service["cap_drop"] == ["ALL"]
    assert of_service["security_opt"] == ["no-new-privileges:true"]
    assert of_service["pids_limit"]
    assert of_service["mem_limit"]
    assert of_service["restart"]
    for name, wanted in of_service["depends_on"].items():
        if wanted["condition"] == "service_healthy":
            assert "test" in services[name]["healthcheck"]
        else:
            assert wanted["condition"] == "service_completed_successfully"
            assert name == "init"


def test_no_service_fills_a_disk_with_its_log_or_takes_all_memory(services: dict[str, Any]) -> None:
    """Logs are rotated and memory is bounded, those of brokers and databases too."""
    for name, service in services.items():
        assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}, name
        assert service["mem_limit"], name


def test_what_compose_mounts_is_here(services: dict[str, Any]) -> None:
    """Files of the repository that containers read: rules, dashboard, provisioning."""
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert len(files) == 4
    assert all((ROOT / file).is_dir() for file in files)
    scraped = yaml.safe_load((ROOT / "observability" / "prometheus" / "prometheus.yml").read_text())
    found = [job["dns_sd_configs"][0] for job in scraped["scrape_configs"]]
    assert {each["names"][0]: each["port"] for each in found} == METRICS_PORTS
    assert METRICS_PORTS.keys() <= services.keys()


def test_any_number_of_ingests_is_behind_the_proxy(services: dict[str, Any]) -> None:
    """Nothing of an ingest is there only once; its proxy has our configuration, and an address that is trusted."""
    ingest, proxy = services["ingest"], services["proxy"]
    assert not {"ports", "container_name", "hostname"} & ingest.keys()
    assert proxy["ports"]
    address = proxy["networks"]["players"]["ipv4_address"]
    settings = ingest["environment"]
    assert settings["PLAYHEAD_HTTP_TRUSTED_PROXIES"] == address
    network = yaml.safe_load((ROOT / "compose.yaml").read_text())["networks"]["players"]["ipam"]["config"][0]
    assert ip_address(address) in ip_network(network["subnet"])
    assert ip_address(address) not in ip_network(network["ip_range"]), "another container may get it"
    assert proxy["environment"]["PLAYHEAD_INGESTS"] == f"ingest:{settings['PLAYHEAD_HTTP_PORT']}"
    assert "players" in ingest["networks"]
    (mounted,) = proxy["volumes"]
    folder, target, _ = mounted.split(":")
    files = [word for word in proxy["command"] if word.startswith("/")]
    assert len(files) == 2
    command = [word.replace(target, str(ROOT / folder)) for word in proxy["command"]]
    environment = {**os.environ, **proxy["environment"]}
    done = subprocess.run([tool(command[0]), "-c", *command[1:]], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", OURS)
def test_the_commands_in_compose_exist(service: str, services: dict[str, Any]) -> None:
    """Each service runs a verb of ours, with options that it has."""
    outcome = CliRunner().invoke(app, [*services[service]["command"], "--help"])
    assert outcome.exit_code == 0, outcome.output


def test_the_image_is_made_of_what_the_wheel_is(tmp_path: Path) -> None:
    """The build's context has every module, and leaves out all else, least of all secrets and data."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    wheel = re.search(r"only-include = \[([^\]]*)\]", (ROOT / "pyproject.toml").read_text())
    assert wheel is not None
    modules = set(re.findall(r'"([^"]+)"', wheel[1]))
    assert allowed == modules | {"pyproject.toml", "requirements.lock", "README.md", "LICENSE", "notice.py"}


def test_an_ingest_runs_from_the_image_without_a_database(services: dict[str, Any]) -> None:
    """Each service has a target of the Containerfile, the ingest the small one; the last is the full."""
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    assert stages[-2:] == list(TARGETS)
    targets = {service: services[service]["build"]["target"] for service in OURS}
    assert targets == {service: "ingest" if service == "ingest" else "full" for service in OURS}
    assert services["ingest"]["image"] not in {
        services[service]["image"] for service in OURS if service != "ingest"
    }


def test_the_image_says_what_the_package_does() -> None:
    """Its labels repeat the project's version, licence and description."""
    text = (ROOT / "Containerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', text))
    assert f"ARG VERSION={project['version']}\n" in text
    assert labels == {
        "title": "Playhead",
        "description": project["description"],
        "licenses": project["license"],
        "version": "${VERSION}",
        "source": "${SOURCE}",
        "revision": "${REVISION}",
    }


STACK = (sys.executable, str(ROOT / "tests" / "stack.py"))


def test_a_stack_says_that_a_port_is_in_use() -> None:
    """Before it starts anything, with what to do: a second stack beside the first has other ports."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*STACK, "--port", port], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith(f"port {port} cannot be used (Address already in use")


def test_the_stack_runs_as_plain_processes(tmp_path: Path) -> None:
    """`make stack` starts all of it, says where it is but no password, takes events at each ingest, starts again
    what was killed, says that once, and ends at Ctrl-C."""
    command = [*STACK, "--port", "0", "--folder", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")}
    with started(command, log=tmp_path / "stack.log", env=environment) as stack:
        try:
            stack.wait_for(lambda: "Ctrl-C" in stack.output, within_s=120)
            ingests = next(line for line in stack.output.splitlines() if line.startswith("ingest "))
            ports = [int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", ingests)]
            assert len(ports) == 2, stack.output
            for port in ports:
                _post_session(port)
            until(
                lambda: '"n":4' in _asked(tmp_path, "sql --json 'SELECT count(*) AS n FROM events'"),
                "the events do not come to the lake",
            )
            seen = json.loads(_asked(tmp_path, "status --json"))["seen"]
            assert [(each["fault"], each["accepted"]) for each in seen["ingests"]] == [(None, 2), (None, 2)]
            for word in ("worker", "ingest", "kafka.Kafka"):
                next(child for child in stack.children(recursive=True) if word in child.cmdline()).kill()
            _post_session(ports[0])
            until(
                lambda: '"n":6' in _asked(tmp_path, "sql --json 'SELECT count(*) AS n FROM events'"),
                "the events do not come to the lake after what was killed has been started again",
            )
            seen = json.loads(_asked(tmp_path, "status --json"))["seen"]
            assert {each["fault"] for each in seen["ingests"]} == {None}, "its metrics have the same port"
        finally:
            status = stack.end(signal.SIGINT, within_s=60)
        assert status == 0
        again = [line.split()[0] for line in stack.output.splitlines() if "is started again" in line]
        assert sorted(name.rstrip("-0123456789") for name in again) == ["ingest", "kafka", "worker"]
        exported = (tmp_path / "environment").read_text()
        password = re.search(r"password=(\w+)", exported)
        assert password is not None
        assert password[1] not in stack.output


def _asked(folder: Path, question: str) -> str:
    """Return what a command prints in the environment that the stack wrote."""
    command = f"set -a; . {folder}/environment; set +a; exec {PLAYHEAD} {question}"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout


class Image:
    """The images that were built here, one a target, and processes run from them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._short = tempfile.mkdtemp(prefix="image-")  # podman wants at most 50 characters
        self._storage = ["--root", f"{self._short}/storage", "--runroot", f"{self._short}/run"]
        self._processes: list[Process] = []

    def build(self) -> None:
        """Build every target of the Containerfile on a Debian of our own."""
        base = "localhost/playhead-base"
        self._run("podman", "import", str(debian()), base)
        # Where the network has certificates of its own, the build has to trust them too.
        (self._folder / "uv.toml").write_text("system-certs = true\n")
        mounts = [(str(self._folder / "uv.toml"), "/etc/uv/uv.toml")]
        mounts += [(path, path) for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
        options = [option for source, target in mounts for option in ("--volume", f"{source}:{target}:ro")]
        options += ["--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={base}"]
        options += ["--layers", "--file", "Containerfile"]  # the stages that both have are built once
        for target in TARGETS:
            tag = f"localhost/playhead-{target}"
            self._run("buildah", "bud", *options, "--target", target, "--tag", tag, str(ROOT))

    def container(self, name: str, target: str) -> Path:
        """Make a container of a target's image and return the folder of its root."""
        self._run("buildah", "from", "--pull-never", "--name", name, f"localhost/playhead-{target}")
        return Path(self._run("buildah", "mount", name).strip())

    def run(self, name: str, environment: dict[str, str], data: Path, *command: str) -> str:
        """Run a command in a container to its end."""
        return self._run(*self._command(name, environment, data, command))

    def start(self, name: str, environment: dict[str, str], data: Path, *command: str) -> psutil.Process:
        """Start a command in a container and return its own process, which has no rights."""
        line = self._command(name, environment, data, command)
        process = Process([line[0], *self._storage, *line[1:]], log=self._folder / f"{name}.log")
        self._processes.append(process)

        def own() -> psutil.Process | None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in process.children(recursive=True):
                    if child.uids().effective == USER and "/opt/playhead/bin/playhead" in child.cmdline():
                        return child
            return None

        return process.wait_for(own)

    def log(self, name: str) -> str:
        """What a container's processes have said."""
        return (self._folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def inspect(self, target: str, template: str) -> str:
        """Return something of the configuration of a target's image."""
        return self._run("podman", "inspect", "--format", template, f"localhost/playhead-{target}").strip()

    def close(self) -> None:
        """Leave nothing behind."""
        for process in self._processes:
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill_all()
        for line in (["buildah", "rm", "--all"], ["podman", "rmi", "--all", "--force"]):
            subprocess.run([line[0], *self._storage, *line[1:]], capture_output=True, check=False)
        subprocess.run(["umount", f"{self._short}/storage/overlay"], capture_output=True, check=False)
        shutil.rmtree(self._short, ignore_errors=True)

    def _command(
        self, name: str, environment: dict[str, str], data: Path, command: tuple[str, ...]
    ) -> tuple[str, ...]:
        variables = [option for key, value in environment.items() for option in ("--env", f"{key}={value}")]
        return (
            "buildah",
            "run",
            "--isolation",
            "chroot",
            "--volume",
            f"{data}:/data",
            *variables,
            name,
            "--",
            *command,
        )

    def _run(self, program: str, *arguments: str) -> str:
        line = [program, *self._storage, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, f"{' '.join(line)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


def debian() -> Path:
    """Return a tar of a small Debian with python3, made the first time and kept in a cache folder."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release["VERSION_CODENAME"].strip('"')
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "playhead-tests"
    tar = cache / f"{suite}.tar"
    if not tar.exists():
        folder = cache / f"{suite}.making"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        packages = "--include=python3-venv,ca-certificates"
        subprocess.run(["debootstrap", "--variant=minbase", packages, suite, folder], check=True, timeout=900)
        subprocess.run(["tar", "-C", folder, "-cf", tar.with_suffix(".part"), "."], check=True)
        tar.with_suffix(".part").rename(tar)
        shutil.rmtree(folder)
    return tar


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    """The image, freshly built."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    reason = f"{', '.join(missing)} not installed" if missing else "" if os.geteuid() == 0 else "needs root"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    image = Image(tmp_path)
    try:
        image.build()
        yield image
    finally:
        image.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_takes_events_and_moves_them(image: Image, tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """Init and worker run from the full image, an ingest from the small one, as a user without rights; they
    write below /data and /tmp alone, and end on the signal that the image names."""
    for target in TARGETS:
        assert image.inspect(target, "{{.Config.User}} {{.Config.StopSignal}}") == f"{USER}:{USER} SIGTERM"
        assert "/health/ready" in image.inspect(target, "{{json .}}")
        assert "org.opencontainers.image.licenses" in image.inspect(target, "{{json .Config.Labels}}")
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, USER, USER)
    (port,) = free_ports(1)
    name = f"image-{time.time_ns()}"
    environment = {
        "PLAYHEAD_LOG": "kafka",
        "PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PLAYHEAD_KAFKA_TOPIC": name,
        "PLAYHEAD_KAFKA_GROUP": name,
        "PLAYHEAD_LAKE_CATALOG": catalog,
        "PLAYHEAD_LAKE_FILES": "/data/files",
        "PLAYHEAD_HTTP_PORT": str(port),
        "PLAYHEAD_API_KEYS": "key-of-the-test",
        "PLAYHEAD_MAC_KEY": "mac-key-of-the-test",
        "PLAYHEAD_PSEUDONYM_KEY": "pseudonym-key-of-the-test",
        "PLAYHEAD_WORKER_ALIVE_FILE": "/tmp/alive",
    }
    roots = {"ingest": image.container("ingest", "ingest"), "worker": image.container("worker", "full")}
    for name, root in roots.items():
        documents = root / "opt" / "playhead" / "share" / "doc" / "playhead"
        listed = {each["name"] for each in json.loads((documents / "sbom.cdx.json").read_text())["components"]}
        assert {"playhead", "litestar"} <= listed
        assert ("duckdb" in listed) is (name == "worker")
        assert "\nlitestar " in (documents / "NOTICE").read_text()
    began = time.time()
    image.run("worker", environment, data, "playhead", "init")
    processes = [image.start(verb, environment, data, "playhead", verb) for verb in ("ingest", "worker")]
    assert {tuple(process.uids()) + tuple(process.gids()) for process in processes} == {(USER,) * 6}
    session = _post_session(port)
    question = f"SELECT count(*) AS events FROM events WHERE session_id = '{session}'"
    asked = ("playhead", "sql", "--json", question)
    until(lambda: '"events":2' in image.run("worker", environment, data, *asked), lambda: image.log("worker"))
    assert "all is well" in image.run("worker", environment, data, "playhead", "verify")
    for process in processes:
        process.terminate()
        process.wait(15)
    assert (roots["worker"] / "tmp" / "alive").stat().st_uid == USER
    assert [path for root in roots.values() for path in _written(root, since=began)] == []


def _post_session(port: int) -> str:
    """Start a session and play, as soon as the ingest is ready; return the session's id."""
    params = {
        "analytics.trackingServer": "metrics.example.com",
        "analytics.reportSuite": "image",
        "visitor.marketingCloudOrgId": "0123456789ABCDEF@ExampleOrg",
        "media.id": "image",
        "media.length": 60.0,
        "media.contentType": "vod",
        "media.playerName": "image",
        "media.channel": "image",
    }
    event = {"playerTime": {"playhead": 0.0, "ts": time.time_ns() // 1_000_000}}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        until(lambda: client.get("/health/ready").status_code == 200, "it is not ready")
        start = client.post("/api/v1/sessions", json={**event, "eventType": "sessionStart", "params": params})
        assert start.status_code == 201, start.text
        location = start.headers["location"]
        play = client.post(f"{location}/events", json={**event, "eventType": "play"})
        assert play.status_code == 204, play.text
    return str(location.rpartition("/")[2])


def _written(root: Path, *, since: float) -> list[Path]:
    """Return the files below a container's root that were written where nothing should be."""
    allowed = tuple(str(root / name) for name in ("tmp", "data", "proc", "sys", "dev", "run", "etc"))
    return [
        path
        for path in root.rglob("*")
        if not str(path).startswith(allowed) and path.is_file() and path.lstat().st_mtime > since
    ]
