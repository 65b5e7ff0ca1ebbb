"""The documentation is accurate: commands, settings, routes, tables, files and faults exist as named."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from rigs.ingest import running

import playhead
from lake.catalog import Location, connect
from lake.tables import initialize
from schemas import faults
from schemas.settings import PREFIX, SECRETS, Settings

PROJECT = Path(__file__).parents[2]
FOLDERS = (
    "players",
    "ingest",
    "eventlog",
    "consumers",
    "sessions",
    "lake",
    "notebooks",
    "commands",
    "observability",
    "schemas",
)
PAGES = sorted(
    [
        *PROJECT.glob("*.md"),
        PROJECT / "tests" / "README.md",
        *(PROJECT / "docs").glob("*.md"),
        PROJECT / "clients" / "README.md",
        PROJECT / "clients" / "web" / "README.md",
        *(page for folder in FOLDERS for page in (PROJECT / folder).glob("*.md")),
    ]
)
MODULES = sorted(
    [*PROJECT.glob("*.py"), *(file for folder in FOLDERS for file in (PROJECT / folder).rglob("*.py"))]
)
TESTS = sorted((PROJECT / "tests").rglob("*.py"))
VARIABLES = {PREFIX + name.upper() for name in Settings.model_fields}
VARIABLES |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}


def name_of(path: Path) -> str:
    """Return a path as a test's id."""
    return str(path.relative_to(PROJECT))


def code(page: Path) -> Iterator[str]:
    """Return each piece of code on a page: blocks, and text in backticks; continued lines are joined."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    yield from (block.replace("\\\n", " ") for block in blocks)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file or a folder, every anchor a heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


@every_page
def test_settings_exist(page: Path) -> None:
    """Every PLAYHEAD_ name on a page is a setting, or the beginning of several: PLAYHEAD_KAFKA_*."""
    for variable in set(re.findall(r"PLAYHEAD_[A-Z0-9_]+\*?", page.read_text())):
        if variable.endswith("*"):
            assert any(known.startswith(variable[:-1]) for known in VARIABLES), variable
        else:
            assert variable in VARIABLES, variable


@every_page
def test_commands_exist(page: Path) -> None:
    """Every verb exists, and every option after it is one of its own."""
    command = typer.main.get_command(playhead.app)
    verbs: dict[str, Any] = command.commands  # type: ignore[attr-defined]
    for text in code(page):
        for line in re.sub(r'"[^"]*"', '""', text).splitlines():
            found = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?playhead ([a-z-]+)([^#|]*)", line.strip())
            if found is None:
                continue
            if found[1] == "--help":
                continue
            assert found[1] in verbs, line
            verb = verbs[found[1]]
            words = re.findall(r"[a-z-]+", found[2].partition(" --")[0])
            if words and hasattr(verb, "commands"):  # `playhead session show`, or `playhead quarantine list|show`
                assert words[0] in verb.commands, line
                verb = verb.commands[words[0]]
            options = {option for param in verb.params for option in param.opts} | {"--help"}
            assert set(re.findall(r"(?<!\S)--[a-z-]+", found[2])) <= options, line


@every_page
def test_make_targets_exist(page: Path) -> None:
    """Every `make something` is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for text in code(page):
        for line in text.splitlines():
            if found := re.match(r"make ([a-z-]+)", line.strip()):
                assert found[1] in targets, line


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every path of the application, by its OpenAPI document, and of the port for operators."""
    with running(tmp_path_factory.mktemp("paths") / "data") as ingest:
        return [*ingest.client.get("/schema/openapi.json").json()["paths"], *ingest.ask("/").text.split()]


@every_page
def test_routes_exist(page: Path, paths: list[str]) -> None:
    """Every path that is requested on a page is one of the application's."""
    routes = [re.sub(r"\{\w+\}", "[^/]+", path) for path in paths]
    mounts = ("/api/v1", "/v1/playouts", "/schema", "/health", "/metrics", "/asyncapi")
    for text in code(page):
        for path in re.findall(r"(?<![\w.])(?:http://[\w.:]+)?((?:/[\w{}.-]+)+)", text.replace("...", "x")):
            if path.startswith(mounts):
                # A session's path is one to which things are added.
                assert any(re.fullmatch(rf"{route}|{route.removesuffix('/events')}", path) for route in routes), (
                    path
                )


@every_page
def test_files_exist(page: Path) -> None:
    """Every Python or SQL file in backticks exists, next to the page or below the project."""
    for text in code(page):
        if re.fullmatch(r"[\w./-]+\.(py|sql|md|yaml|json)", text) and "truth.json" not in text:
            where = [page.parent / text, PROJECT / text, PROJECT / "tests" / text, page.parent / "sql" / text]
            if text.startswith("/"):
                continue
            assert any(path.exists() for path in where), text


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_s_page_lists_its_modules(folder: str) -> None:
    """A README a folder, which names every module in it; and the project's README names the folder."""
    text = (PROJECT / folder / "README.md").read_text()
    for module in (PROJECT / folder).glob("*.py"):
        assert module.name == "__init__.py" or f"`{module.name}`" in text, module.name
    assert f"{folder}/README.md" in (PROJECT / "README.md").read_text()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty lake with all its tables and views."""
    folder = tmp_path_factory.mktemp("docs")
    place = Location("sqlite", str(folder / "catalog.sqlite"), str(folder / "files"))
    initialize(place, partitions=2)
    connection = connect(place, read_only=True)
    yield connection
    connection.close()


@every_page
def test_sql_is_understood(page: Path, lake: duckdb.DuckDBPyConnection) -> None:
    """Every statement that a page gives to `playhead sql`, and every block of SQL, runs."""
    text = page.read_text()
    statements = re.findall(r'playhead sql (?:--\w+ )?"([^"]+)"', text)
    for block in re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        statements += [part for part in block.split(";") if part.strip()]
    for statement in statements:
        if "..." not in statement and not re.match(r"\s*(INSTALL|ATTACH|LOAD|USE)\b", statement):
            lake.execute(statement).fetchall()


def test_every_module_says_its_subject() -> None:
    """The first line of each module is a sentence."""
    for path in [*MODULES, *TESTS]:
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring, path
        first = docstring.splitlines()[0]
        assert re.fullmatch(r"[A-Z`].{10,}[.:?]", first), (path, first)


def test_every_test_says_what_it_states() -> None:
    """A sentence each."""
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert re.match(r"(?s).{10,}[.:)]", ast.get_docstring(node) or ""), (path, node.name)


def test_there_is_one_way_to_start_a_process_and_one_to_wait() -> None:
    """`rigs/processes.py` and `rigs/waiting.py`; no test has a deadline of its own."""
    for path in TESTS:
        if path.parent.name != "rigs" or path.name not in ("processes.py", "waiting.py"):
            assert not re.search(r"\b(Popen|create_subprocess_\w+)\(|\bdeadline(_s)? = ", path.read_text()), path


def test_importing_any_module_does_nothing(tmp_path: Path) -> None:
    """In an environment that is empty, or full of nonsense: no output, no file, no thread, no change."""
    names = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if path.stem.isidentifier()
    ]
    program = f"""
import importlib, logging, os, signal, sys, threading
before = dict(os.environ), signal.getsignal(signal.SIGINT), list(logging.root.handlers), os.getcwd()
for name in {names!r}:
    importlib.import_module(name)
assert threading.active_count() == 1, threading.enumerate()
assert (dict(os.environ), signal.getsignal(signal.SIGINT), list(logging.root.handlers), os.getcwd()) == before
"""
    for environment in ({}, {"PLAYHEAD_NONSENSE": "1", "PLAYHEAD_HTTP_PORT": "x", "HOME": str(tmp_path)}):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_the_tree_of_faults_is_drawn_as_it_is() -> None:
    """Names, parents, statuses and codes are those of the classes; retryable faults are marked."""
    drawn = {}
    parents = [""]
    for line in (faults.__doc__ or "").splitlines():
        if found := re.fullmatch(r" {4}([│ ├└─]*)(\w+) *(.*)", line):
            depth = len(found[1]) // 4
            parents[depth + 1 :] = [found[2]]
            numbers = found[3].split()[:2] if found[3][:1].isdigit() else []
            drawn[found[2]] = (parents[depth], numbers, "(retry)" in found[3])
    classes = {
        name: each
        for name, each in vars(faults).items()
        if isinstance(each, type) and issubclass(each, faults.Fault)
    }
    assert drawn.keys() == classes.keys()
    for name, (parent, numbers, retryable) in drawn.items():
        assert name == "Fault" or classes[name].__base__ is classes[parent]
        assert numbers in ([], [str(classes[name].status), classes[name].code])
        assert retryable is classes[name].retryable


def test_ci_runs_what_developers_run() -> None:
    """One script, on the oldest and the newest Python."""
    (path,) = (PROJECT / ".github" / "workflows").glob("*.yml")
    assert 'python: ["3.11", "3.13"]' in path.read_text()
    assert path.read_text().endswith("      - run: .ci/run\n")
    script = (PROJECT / ".ci" / "run").read_text()
    assert "make check" in script
    assert "make test" in script


def test_the_repository_speaks_of_itself_alone() -> None:
    """No path of somebody's machine, no reminder to oneself, no name that says nothing."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    unfinished = "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"))
    for name in listed.split():
        path = PROJECT / name
        if name in ("requirements.lock", "LICENSE") or not path.exists():
            continue
        assert not re.search(r"(^|/)(utils?|helpers?|misc|common|base|manager)(\.py|/|$)", name), name
        text = path.read_text(errors="replace")
        assert not re.search(rf"\b({unfinished})\b", text), name
        assert not re.search(r"(?<![\w.~}])/(work|home|Users)/\w", text), name
