"""The path of a lake's files: upkeep leaves them alone however it is spelled, and odd new ones are refused."""

from pathlib import Path

import msgspec
import pytest
from rigs.lake import make_spelled, playhead
from rigs.upkept import SHRUNK, insert, kept_up, live_files, offsets_of, plant
from structlog.testing import capture_logs

from lake.catalog import Location, check_new, location
from lake.tables import initialize
from lake.verify import verify
from schemas.faults import NotReady
from schemas.settings import Settings

SPELLINGS = {
    "two slashes": "{base}//files",
    "three slashes and a slash at the end": "{base}///deep//files//",
    "a slash at the end": "{base}/files/",
    "dot": "{base}/./files",
    "dots": "{base}/other/../files",
    "a link": "{base}/link/files",
    "relative": "files",
    "relative with dots": "../{name}/files",
    "spaces": "{base}/my files /of the lake",
    "percent": "{base}/100%/a%20b/files",
    "hash and question mark": "{base}/a#b?c=d&e/files",
    "star": "{base}/a*/files",
    "bracket": "{base}/a[bc]/files",
    "quotes": '{base}/it\'s "quoted"/files',
    "not ASCII": "{base}/Zoë/ファイル",
    "in two code points": "{base}/Zoe\N{COMBINING DIAERESIS}/files",
}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a link to a folder elsewhere."""
    folder = tmp_path / "base"
    for path in (folder, folder / "other", tmp_path / "elsewhere" / "below"):
        path.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "elsewhere" / "below")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", SPELLINGS)
def test_upkeep_leaves_every_live_file_however_the_path_is_spelled(base: Path, name: str) -> None:
    """A lake whose path was taken as it was spelled, as by release 0.1.0, goes on; only an orphan is moved."""
    spelling = SPELLINGS[name].format(base=base, name=base.name)
    settings = Settings(data_dir=base / "data", lake_files=spelling)
    place = location(settings)
    Path(place.catalog).parent.mkdir(parents=True)
    as_spelled = msgspec.structs.replace(place, files=spelling)
    make_spelled(as_spelled)
    insert(as_spelled, *range(20))
    assert Path(place.files) == Path(spelling).resolve()
    insert(place, 20, 21)
    orphan = plant(Path(place.files))
    with capture_logs() as logs:
        tidied = kept_up(place, SHRUNK, settings.orphans)
        kept_up(place, SHRUNK, settings.orphans)
    assert tidied.merged_tables == ["duplicates"]
    assert (tidied.orphans.aside, orphan.exists()) == ((0, True) if name == "bracket" else (1, False))
    assert {entry["log_level"] for entry in logs} == ({"warning"} if name == "bracket" else set())
    assert verify(place).findings == []
    assert offsets_of(place) == list(range(22))


@pytest.mark.parametrize("name", ["two slashes", "three slashes and a slash at the end"])
def test_live_files_that_are_listed_as_orphans_stay_and_are_said(base: Path, name: str) -> None:
    """Even where paths are compared as text: the names decide, and the wrong list is an error by name."""
    place = Location("sqlite", str(base / "catalog.sqlite"), SPELLINGS[name].format(base=base))
    initialize(place, partitions=1)
    insert(place, 0, 1, 2)
    live = set(live_files(place))
    with capture_logs() as logs:
        tidied = kept_up(place, SHRUNK, base / "orphans")
    assert tidied.orphans.aside == 0
    (error,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert error["event"] == "files of the lake were listed as orphans"
    assert error["count"] == len(live)
    assert {Path(file).name for file in error["files"]} == live
    assert verify(place).findings == []


def test_a_star_in_the_path_touches_no_other_folder(base: Path) -> None:
    """DuckLake lists orphans by a pattern; what is in another folder that it matches is not the lake's."""
    place = location(Settings(data_dir=base, lake_files=str(base / "a*" / "files")))
    initialize(place, partitions=1)
    neighbour, own = plant(base / "ab" / "files"), plant(Path(place.files))
    assert kept_up(place, SHRUNK, base / "orphans").orphans.aside == 1
    assert (neighbour.exists(), own.exists()) == (True, False)


def test_dots_behind_a_link_lead_where_the_system_goes(base: Path) -> None:
    """Not to the folder that the link is in. DuckDB alone finds no way there."""
    place = location(Settings(data_dir=base, lake_files=f"{base}/link/../files"))
    initialize(place, partitions=1)
    insert(place, 0)
    assert Path(place.files) == base.parent / "elsewhere" / "files"
    assert verify(place).findings == []


def test_a_path_that_starts_with_a_tilde_is_in_the_home_folder(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DuckDB reads it."""
    monkeypatch.setenv("HOME", str(base))
    assert location(Settings(data_dir=base, lake_files="~/files")).files == str(base / "files")


def test_the_shipped_programs_keep_a_lake_behind_two_slashes(base: Path) -> None:
    """`init`, `upkeep` and `verify`, with PLAYHEAD_LAKE_FILES=$BASE/files and a BASE that ends in a slash."""
    settings = Settings(
        data_dir=base,
        lake_files=f"{base}//files",
        lake_snapshots_kept_s=0.2,
        lake_files_kept_s=0.1,
        lake_orphan_age_s=0.2,
        lake_orphans_interval_s=0.1,
        worker_transaction_timeout_s=0.1,
    )
    for verb in ("init", "upkeep", "upkeep", "verify"):
        with playhead(settings, verb) as process:
            assert process.wait(60) == 0, (base / f"{verb}.stderr").read_text()
    upkeep = (base / "upkeep.stderr").read_text()
    assert '"orphans_set_aside": 0' in upkeep
    assert '"level": "error"' not in upkeep
    assert {Path(file).exists() for file in (base / "files").rglob("*.parquet")} == {True}


def test_a_new_lake_refuses_a_path_that_duckdb_cannot_have(base: Path) -> None:
    """A backslash: DuckDB would fail at the first folder."""
    settings = Settings(data_dir=base, lake_files=f"{base}/a\\b")
    with pytest.raises(NotReady, match="backslash"):
        initialize(location(settings), partitions=1)
    assert not Path(location(settings).catalog).exists()


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ("s3://lake/of//playhead", "empty"),
        ("s3://lake//playhead", "empty"),
        ("s3://lake/playhead//", "empty"),
        ("s3://lake/./playhead", "empty"),
        ("s3://lake/a/../playhead", "empty"),
        ("s3://lake/what?", r"contains a \?,"),
        ("s3://lake/a*", r"contains a \*,"),
        ("s3://lake/a[b]", r"contains a \[,"),
        ("s3:///playhead", "a folder or s3://"),
        ("file:///playhead", "a folder or s3://"),
    ],
)
def test_a_new_lake_refuses_an_odd_address(tmp_path: Path, files: str, fault: str) -> None:
    """`//` is part of a key on S3, and so no two programs would agree where files are."""
    with pytest.raises(NotReady, match=fault):
        check_new(location(Settings(data_dir=tmp_path, lake_files=files)))
    check_new(location(Settings(data_dir=tmp_path, lake_files="s3://lake/of playhead/100%")))
    check_new(location(Settings(data_dir=tmp_path, lake_files="s3://lake/")))


def test_init_refuses_an_odd_address_and_leaves_nothing(tmp_path: Path) -> None:
    """The command says which setting, exits with 2, and the next try starts from nothing."""
    settings = Settings(data_dir=tmp_path, lake_files="s3://lake/of//playhead")
    with playhead(settings, "init") as process:
        assert process.wait(60) == 2
    assert "PLAYHEAD_LAKE_FILES" in (tmp_path / "init.stderr").read_text()
    assert not Path(location(settings).catalog).exists()
