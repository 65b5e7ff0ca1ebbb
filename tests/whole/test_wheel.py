"""The wheel as people install it, with and without the extra `lake`, run from an empty folder."""

import contextlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from packaging.utils import canonicalize_name
from rigs import wheels
from rigs.brokers import free_ports
from rigs.commands import SECRETS, environment, failed
from rigs.processes import Process, started

START = {
    "eventType": "sessionStart",
    "playerTime": {"playhead": 0, "ts": 1_763_712_000_000},
    "params": {
        "media.id": "wheel",
        "media.length": 60.0,
        "media.contentType": "vod",
        "media.playerName": "wheel",
        "media.channel": "wheel",
        "analytics.trackingServer": "-",
        "analytics.reportSuite": "-",
        "visitor.marketingCloudOrgId": "-",
    },
}
QUICK = {"PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "0.2"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    return wheels.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`playhead` of an installation without extras."""
    return wheels.install(wheel, tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`playhead` of an installation with the extra `lake`."""
    return wheels.install(wheel, tmp_path_factory.mktemp("whole") / "venv", "lake")


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run an installed `playhead` to its end, in a folder."""
    return subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env=environment(QUICK),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextlib.contextmanager
def process(program: Path, *arguments: str, cwd: Path, **settings: str) -> Iterator[Process]:
    """Run an installed `playhead` until it is told to end, which it must do well."""
    variables = environment(QUICK | settings)
    with started([program, *arguments], log=cwd / f"{arguments[0]}.log", env=variables, cwd=cwd) as running:
        yield running
        assert running.end() == 0, running.output


@contextlib.contextmanager
def ingest(program: Path, *, cwd: Path) -> Iterator[tuple[httpx.Client, int]]:
    """Run an ingest; return a client of it, once it is ready, and its process id."""
    (port,) = free_ports(1)
    with (
        process(program, "ingest", cwd=cwd, **SECRETS, PLAYHEAD_HTTP_PORT=str(port)) as running,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        running.wait_for(lambda: client.get("/health/ready").status_code == 200)
        yield client, running.pid


def events_in_the_lake(program: Path, *, cwd: Path) -> int:
    """Return how many events `playhead sql` counts."""
    done = run(program, "sql", "--json", "SELECT count(*) AS n FROM events", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)[0]["n"])


def move(program: Path, *, events: int, cwd: Path) -> None:
    """Run a worker until the lake has this many events."""
    with process(program, "worker", cwd=cwd) as worker:
        worker.wait_for(lambda: events_in_the_lake(program, cwd=cwd) >= events)


def test_the_wheel_has_types_and_sql_and_no_tests(wheel: Path) -> None:
    """Each package of it is marked as typed; the lake's SQL is there, tests and scripts are not."""
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.partition("/")[0] for name in names if name.endswith("/__init__.py")} - {"tests"}
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    assert any(name.startswith("lake/sql/") and name.endswith(".sql") for name in names)
    assert {f"notebooks/demo_files/{name}" for name in ("page.html", "page.js", "film.mp4")} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "notice.py"))]


def test_it_takes_events_and_answers_questions(whole: Path, tmp_path: Path) -> None:
    """`--help`, `init`, an ingest, a worker, `sql` and `verify`."""
    assert "Take the events of media players" in run(whole, "--help", cwd=tmp_path).stdout
    assert run(whole, "init", cwd=tmp_path).returncode == 0
    with ingest(whole, cwd=tmp_path) as (client, _):
        reply = client.post("/api/v1/sessions", json=START)
        assert reply.status_code == 201, reply.text
        event = {"eventType": "play", "playerTime": {"playhead": 0, "ts": 1_763_712_000_500}}
        assert client.post(f"{reply.headers['location']}/events", json=event).status_code == 204
    move(whole, events=2, cwd=tmp_path)
    done = run(whole, "verify", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        "all is well: every offset is stored exactly once",
    )


def test_an_ingest_needs_no_extra(bare: Path, whole: Path, tmp_path: Path) -> None:
    """Without DuckDB, `topics` makes the log, and an ingest takes an event, which a worker elsewhere moves.

    It shows its document, whose page is made of files of a package, and serves the client for web players.
    """
    made = run(bare, "topics", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    with ingest(bare, cwd=tmp_path) as (client, _):
        assert client.post("/api/v1/sessions", json=START).status_code == 201
        page = client.get("/schema").text
        files = re.findall(r'(?:href|src)="(/[^"]+)"', page)
        assert len(files) == 3
        for path in [*files, "/schema/openapi.json", "/playhead.js"]:
            assert client.get(path).status_code == 200, path
    assert run(whole, "init", cwd=tmp_path).returncode == 0
    move(whole, events=1, cwd=tmp_path)


def test_an_ingest_loads_no_database_where_there_is_one(whole: Path, tmp_path: Path) -> None:
    """After its first event, no file of DuckDB or pyarrow is mapped, though both are installed."""
    assert run(whole, "topics", cwd=tmp_path).returncode == 0
    with ingest(whole, cwd=tmp_path) as (client, pid):
        assert client.post("/api/v1/sessions", json=START).status_code == 201
        mapped = Path(f"/proc/{pid}/maps").read_text()
    assert "pydantic_core" in mapped
    assert "duckdb" not in mapped
    assert "pyarrow" not in mapped


@pytest.mark.parametrize(
    "arguments",
    [
        ["init"],
        ["topics", "--partitions", "9"],
        ["worker"],
        ["upkeep"],
        ["upkeep", "--every", "60s"],
        ["backup"],
        ["rebuild"],
        ["verify"],
        ["session", "show", "x"],
        ["sql", "SELECT 1"],
        ["attach"],
        ["up"],
    ],
    ids=" ".join,
)
def test_a_missing_extra_is_named(arguments: list[str], bare: Path, tmp_path: Path) -> None:
    """One line with what to type, and exit status 2."""
    done = run(bare, *arguments, cwd=tmp_path)
    assert failed(done).endswith("is not installed: pip install 'playhead[lake]'")


def test_a_notice_names_each_package_and_its_licence(bare: Path) -> None:
    """What the image's NOTICE is made by, in an installation: no package without a licence, and not our own."""
    done = subprocess.run([bare.parent / "python", wheels.ROOT / "notice.py"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    named = dict(re.findall(r"^={80}\n(\S+) \S+: (.+)$", done.stdout, re.MULTILINE))
    assert {canonicalize_name(name) for name in named} == wheels.needed().keys()
    assert "see its files" not in named.values()
    assert "Permission is hereby granted" in done.stdout


def test_an_sbom_lists_what_is_installed(bare: Path, tmp_path: Path) -> None:
    """What the image's SBOM is made by, in an installation: each package with its version."""
    program = Path(sys.executable).parent / "cyclonedx-py"
    options = ["--output-format", "JSON", "--output-file", "sbom.json"]
    subprocess.run([program, "environment", *options, bare.parents[1]], cwd=tmp_path, check=True)
    components = json.loads((tmp_path / "sbom.json").read_text())["components"]
    listed: dict[str, str] = {canonicalize_name(each["name"]): each["version"] for each in components}
    needed = {name: package.version for name, package in wheels.needed().items()}
    assert listed == needed | {"playhead": listed["playhead"]}


def test_what_needs_no_extra_runs_without_one(bare: Path, tmp_path: Path) -> None:
    """Help of every kind, and the settings."""
    for arguments in (["--help"], ["worker", "--help"], ["sql", "--help"], ["settings"]):
        done = run(bare, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
