"""The rules that no linter keeps: where SQL may be, what the command imports, how long functions and files are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SQL_FOLDERS = ("lake", "notebooks", "tests")
OWN_DATABASES = ("eventlog/embedded",)
"""Folders that keep a database of their own, which is not the lake: the embedded log is a SQLite file."""

SKIPPED = (".venv", ".uv", "build", "dist")
_METHODS = ("execute", "executemany", "executescript", "sql", "query")
_STATEMENT = re.compile(
    r"\s*(?:"
    r"SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|WITH\s+\w+\s+AS\s*\(|FROM\s+\w+|VALUES\s*\("
    r"|(?:CREATE|DROP|ALTER)\s+(?:OR\s+REPLACE\s+)?(?:TABLE|VIEW|MACRO|SCHEMA|INDEX|SECRET|ROLE|DATABASE)\s"
    r"|(?:BEGIN|COMMIT|ROLLBACK)(?:\s+(?:TRANSACTION|IMMEDIATE|EXCLUSIVE))?\s*;?\s*\Z"
    r"|ATTACH\s|DETACH\s|PRAGMA\s|COPY\s|CALL\s+\w+\(|CHECKPOINT\b|SET\s+\w+\s*=|USE\s+\w+\s*;?\s*\Z"
    r")"
)


def sql_in(source: str) -> list[int]:
    """Return the lines of a module on which a string is SQL, by how it begins or by what is called with it."""
    tree = ast.parse(source)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            if _STATEMENT.match(node.value):
                lines.add(node.lineno)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            lines |= {each.lineno for each in node.args[:1] if isinstance(each, ast.Constant | ast.JoinedStr)}
    return sorted(lines)


def modules_outside(*folders: str) -> Iterator[Path]:
    """Return the project's modules that are in none of these folders."""
    for path in sorted(PROJECT.rglob("*.py")):
        name = path.relative_to(PROJECT).as_posix()
        if not name.startswith(tuple(f"{folder}/" for folder in (*folders, *SKIPPED))):
            yield path


@pytest.mark.parametrize(
    "source",
    [
        'lake.execute("BEGIN")',
        'connection.execute(f"DELETE FROM {table}")',
        'QUESTION = "SELECT count(*) FROM events"',
        'def f(lake):\n    """Count."""\n    return ask(lake, f"""\n    WITH a AS (SELECT 1) FROM a""")',
        'x = f"INSERT INTO {table} VALUES (1)"',
        'x = "FROM sessions LIMIT 1"',
        'self.connection.sql(f"{verb} {table}")',
    ],
)
def test_a_statement_is_recognized(source: str) -> None:
    """By its first words, or because it is handed to a database."""
    assert sql_in(source) != []


@pytest.mark.parametrize(
    "source",
    [
        '"""SELECT and its friends: what this module is about."""',
        'def f():\n    """DELETE FROM the cache what is old."""',
        'METHODS = ("GET", "DELETE")',
        'print("Select a partition, from 0 to 7")',
        'httpx.get(url, params={"query": "x"})',
    ],
)
def test_a_sentence_is_no_statement(source: str) -> None:
    """Documentation, HTTP methods and messages may use SQL's words."""
    assert sql_in(source) == []


def test_sql_is_in_the_lake_alone() -> None:
    """Whoever asks the lake calls a function of `lake/`; notebooks are questions, and tests look behind it."""
    found = [
        f"{path.relative_to(PROJECT)}:{line}"
        for path in modules_outside(*SQL_FOLDERS, *OWN_DATABASES)
        for line in sql_in(path.read_text())
    ]
    assert found == []


def test_every_answer_of_the_lake_is_read_to_its_end() -> None:
    """`fetchone` leaves the rest, and so the query, open: a SQLite catalogue's log grows then (`lake/held.py`)."""
    found = [
        str(path.relative_to(PROJECT))
        for path in modules_outside("tests", *OWN_DATABASES)
        if ").fetchone()" in path.read_text()
    ]
    assert found == []


def imports_of(path: Path) -> set[str]:
    """Return the top-level modules that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            found.add((node.module or "").partition(".")[0])
    return found


FOLDERS = {path.parent.name for path in PROJECT.glob("*/__init__.py")}


def test_the_command_imports_verbs_and_shapes_only() -> None:
    """What a verb does is in `commands/`; import-linter does not take modules without a folder."""
    assert imports_of(PROJECT / "playhead.py") & FOLDERS == {"commands", "schemas"}
    assert imports_of(PROJECT / "notice.py") & FOLDERS == set()


def test_nothing_imports_the_command() -> None:
    """`playhead.py` and `notice.py` are where programs begin."""
    beginnings = {"playhead", "notice"}
    found = [str(path) for path in modules_outside("tests") if imports_of(path) & beginnings]
    assert found == []


def test_the_layers_name_every_folder() -> None:
    """A new folder must be given its place in the import contract."""
    assert "commands" in FOLDERS
    contract = (PROJECT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    assert [folder for folder in sorted(FOLDERS) if f'"{folder}"' not in contract] == []


def test_a_log_has_one_logger_a_module_and_events_that_read_alike() -> None:
    """`logger`, named after the module; an event is words in lower case, and what varies is in its fields."""
    for path in modules_outside("tests"):
        source = path.read_text()
        for name, argument in re.findall(r"^(\w+) = structlog\.get_logger\((.*)\)$", source, re.MULTILINE):
            assert (name, argument) == ("logger", "__name__"), path
        for node in ast.walk(ast.parse(source)):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")):
                continue
            if isinstance(node.args[0], ast.Constant):
                event = str(node.args[0].value)
                assert re.match(r"[a-z]+( |$)", event), (path, event)
                assert "_" not in event.partition(":")[0], (path, event)
            else:
                assert isinstance(node.args[0], ast.Attribute), (path, ast.unparse(node))


FUNCTION_LINES_MAX, FILE_LINES_MAX = 60, 420
ONE_LIST = ("schemas/settings.py",)
"""Files that are one list, which is read in one place."""


def test_a_function_fits_on_a_screen_and_a_file_can_be_read_at_once() -> None:
    """What is longer has more than one subject."""
    long = []
    for path in modules_outside("tests"):
        source = path.read_text()
        name = path.relative_to(PROJECT).as_posix()
        if source.count("\n") > FILE_LINES_MAX and name not in ONE_LIST:
            long.append(name)
        long += [
            f"{name}:{node.lineno}"
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno is not None
            and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
        ]
    assert long == []
