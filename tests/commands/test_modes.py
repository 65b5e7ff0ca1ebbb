"""Who may read Playhead's files: their owner, and a group if a setting allows it."""

import grp
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.commands import ask, environment, playhead, started

GROUP = "nogroup"


def modes(folder: Path) -> dict[str, int]:
    """Return the mode of a folder and of each thing in it, by its path; what vanishes meanwhile is passed over."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        try:
            found[str(path.relative_to(folder))] = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
    return found


def is_lake(name: str) -> bool:
    """Return whether a path below the data folder is of the lake or a backup."""
    return name.split("/")[0] in ("lake", "backups")


def expected(folder: Path, *, lake_umask: int) -> dict[str, int]:
    """Return the modes that all in a data folder should have; those of the folder itself included."""
    wanted = {}
    for name in modes(folder):
        path = folder / name
        umask = lake_umask if is_lake(name) or name in (".", "truth.json") else 0o077
        wanted[name] = (0o777 if path.is_dir() else 0o666) & ~umask
    return wanted


@pytest.mark.parametrize(("setting", "lake_umask"), [("off", 0o077), ("on", 0o027)])
def test_what_is_made_is_its_owner_s_and_the_lake_a_group_s_if_asked(
    setting: str, lake_umask: int, tmp_path: Path
) -> None:
    """Log, locks, secrets, logs, catalogue, files, backups: while all runs and after, whatever the umask was."""
    settings = {"PLAYHEAD_LAKE_GROUP_READ": setting}
    data = tmp_path / "data"
    with started("up", "--viewers", "3", "--port", "0", cwd=tmp_path, settings=settings, umask=0) as running:
        running.wait_for(lambda: re.search(r"[1-9]\d* events", running.output))
        assert playhead("backup", cwd=tmp_path, settings=settings, umask=0).returncode == 0
        found = modes(data)
        assert found == {
            name: mode for name, mode in expected(data, lake_umask=lake_umask).items() if name in found
        }
        assert {
            "log.sqlite-wal",
            "log.sqlite.writer",
            "log.sqlite.reader",
            "lake/catalog.sqlite-wal",
        } <= found.keys()
        assert running.end(signal.SIGINT) == 0, running.output
    found = modes(data)
    assert found == expected(data, lake_umask=lake_umask)
    assert {
        "log.sqlite",
        "secrets/mac_key",
        "logs/worker.log",
        "lake/catalog.sqlite",
        "truth.json",
    } <= found.keys()
    assert [name for name in found if re.match(r"lake/files/.*events.*\.parquet", name)]
    assert [name for name in found if re.match(r"backups/.*/manifest.json", name)]


def widen(folder: Path) -> None:
    """Give everybody all rights, as an older release, or somebody, might have."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)


def test_what_was_made_wider_is_tightened_by_init_but_not_the_folder_it_is_in(tmp_path: Path) -> None:
    """The data folder may be anybody's, such as a mounted volume; what is inside is ours."""
    playhead("up", "--viewers", "1", "--for", "2s", "--port", "0", cwd=tmp_path)
    assert playhead("backup", cwd=tmp_path).returncode == 0
    data = tmp_path / "data"
    widen(data)
    assert playhead("up", "--for", "1s", "--port", "0", cwd=tmp_path).returncode == 0
    ignored = {".", "truth.json", "logs/viewers.log"}
    found = {name: mode for name, mode in modes(data).items() if name not in ignored}
    assert found == {name: mode for name, mode in expected(data, lake_umask=0o077).items() if name not in ignored}
    assert modes(data)["."] == 0o777


def test_a_folder_that_was_named_keeps_its_mode(tmp_path: Path) -> None:
    """Files and backups elsewhere are as the umask says; the folders that somebody made stay as they are."""
    files, backups = tmp_path / "files", tmp_path / "kept"
    for folder in (files, backups):
        folder.mkdir()
        folder.chmod(0o2775)
    settings = {
        "PLAYHEAD_LAKE_FILES": str(files),
        "PLAYHEAD_LAKE_BACKUPS": str(backups),
        "PLAYHEAD_LAKE_GROUP_READ": "on",
    }
    run = playhead("up", "--viewers", "1", "--for", "2s", "--port", "0", cwd=tmp_path, settings=settings, umask=0)
    assert run.returncode == 0, run.stdout
    assert playhead("backup", cwd=tmp_path, settings=settings, umask=0).returncode == 0
    assert (modes(files)["."], modes(backups)["."]) == (0o2775, 0o2775)
    made = [path for folder in (files, backups) for path in folder.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o640}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o750}


def test_the_lake_is_opened_and_closed_again_by_init(tmp_path: Path) -> None:
    """After the setting was changed, files that were there before are as it says; a set-group-id bit stays."""
    assert playhead("init", cwd=tmp_path).returncode == 0
    lake = tmp_path / "data" / "lake"
    lake.chmod(0o2700)
    for setting, umask in (("on", 0o027), ("off", 0o077)):
        assert playhead("init", cwd=tmp_path, settings={"PLAYHEAD_LAKE_GROUP_READ": setting}).returncode == 0
        assert modes(lake)["."] == 0o2777 & ~umask
        files = [path for path in lake.rglob("*") if path.is_file()]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


@pytest.fixture
def folder_for_all() -> Iterator[Path]:
    """A folder that every user gets to."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# Interpreter and extensions may be where only root gets to: all is loaded first, and then another user asks.
MEMBER = """
import os, shutil, sys
from pathlib import Path
from lake import catalog, query
from schemas.settings import read_settings
folder, group, question, *secret = sys.argv[1:]
packaged = catalog.extension_path
def copied(name):
    path = Path(folder, f"{name}.duckdb_extension")
    if os.geteuid() == 0:
        shutil.copyfile(packaged(name), path)
        path.chmod(0o644)
    return str(path)
catalog.extension_path = copied
place = catalog.location(read_settings({"PLAYHEAD_DATA_DIR": "data"}))
query.ask(place, question)
os.setgroups([])
os.setgid(int(group))
os.setuid(65534)
for path in secret:
    try:
        Path(path).open()
    except PermissionError:
        print("denied", path)
try:
    Path("data/lake/x").touch()
except PermissionError:
    print("denied writing")
print(query.ask(place, question).rows)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_member_of_the_group_reads_the_lake_and_nothing_else(folder_for_all: Path) -> None:
    """Asks in SQL while all runs; reads neither log nor secrets, and writes nothing."""
    number = grp.getgrnam(GROUP).gr_gid
    folder_for_all.chmod(0o2755)
    shutil.chown(folder_for_all, group=number)
    extensions = folder_for_all / "extensions"
    extensions.mkdir()
    question = "SELECT count(*) > 0 AS some FROM events"
    private = ["data/log.sqlite", "data/secrets/mac_key", "data/logs/worker.log"]

    def ask_as_member() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-P", "-c", MEMBER, str(extensions), str(number), question, *private]
        return subprocess.run(command, cwd=folder_for_all, env=environment({}), capture_output=True, text=True)

    settings = {"PLAYHEAD_LAKE_GROUP_READ": "on"}
    with started("up", "--viewers", "2", "--port", "0", cwd=folder_for_all, settings=settings) as running:
        running.wait_for(lambda: "Playhead listens" in running.output)
        running.wait_for(lambda: ask(question, cwd=folder_for_all) == [{"some": True}])
        asked = ask_as_member()
        denied = [f"denied {path}" for path in private] + ["denied writing"]
        assert asked.stdout.splitlines() == [*denied, "[(True,)]"], asked.stderr
        assert running.end(signal.SIGINT) == 0, running.output
    assert playhead("init", cwd=folder_for_all).returncode == 0
    assert "[(True,)]" not in ask_as_member().stdout
