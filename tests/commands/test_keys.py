"""`playhead keys`: named keys are made, rotated and revoked while ingests run, which follow by themselves."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rigs.commands import SECRETS, failed, playhead
from rigs.ingest import Ingest, event, running, session_start
from rigs.waiting import until

from players.truth import read_truth
from schemas.faults import NotReady
from schemas.named_keys import SCOPES, add_key, read_named_keys, revoke_key

TRACKING = "/v1/playouts/tracking/session"
OLD = "string"  # of PLAYHEAD_API_KEYS
NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest whose media routes need a key too."""
    with running(tmp_path_factory.mktemp("keys") / "data", media_needs_key="on") as one:
        yield one


def keys(ingest: Ingest, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of `playhead keys` on the ingest's data folder."""
    return playhead("keys", *arguments, cwd=ingest.data_dir.parent, settings=SECRETS)


def made(ingest: Ingest, name: str, *options: str) -> str:
    """Make a key, and return it once the ingest knows it."""
    done = keys(ingest, "add", name, *options)
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    until(lambda: 200 in (track(ingest, key), start(ingest, key) - 1), within_s=5)
    return key


def track(ingest: Ingest, key: str) -> int:
    """Ask for a tracking session; return the status."""
    return ingest.post(TRACKING, b"", headers={"X-API-Key": key}).status_code


def start(ingest: Ingest, key: str) -> int:
    """Start a media session; return the status."""
    return ingest.post("/api/v1/sessions", session_start(), headers={"X-API-Key": key}).status_code


def test_a_key_is_rotated_without_a_restart_and_without_a_refused_request(ingest: Ingest) -> None:
    """As the runbook says: the new one works beside the old one, then the old one is refused, and named."""
    old = made(ingest, "web-2025")
    new = made(ingest, "web-2026")
    assert (track(ingest, old), track(ingest, new)) == (200, 200)
    done = keys(ingest, "revoke", "web-2025")
    assert done.stdout == "web-2025 is revoked; ingests refuse it within a second\n"
    until(lambda: track(ingest, old) == 401, within_s=3)
    assert (track(ingest, new), start(ingest, new)) == (200, 201)
    counted = 'playhead_ingest_refused_of_key_total{code="key_refused",key="web-2025"}'
    assert ingest.count(counted) >= 1
    assert "revoked at" in failed(keys(ingest, "revoke", "web-2025"))
    assert "web-2025-2" in failed(keys(ingest, "add", "web-2025"))
    listed = {each["name"]: each for each in json.loads(keys(ingest, "list", "--json").stdout)}
    assert listed["web-2025"]["revoked_at"]
    assert listed["web-2026"]["revoked_at"] is None
    assert listed.keys() >= {"settings-1", "settings-2"}
    assert "web-2026" in keys(ingest, "list").stdout


def test_a_key_opens_what_its_scopes_say(ingest: Ingest) -> None:
    """Those of the settings open both APIs, as they always did."""
    tracking = made(ingest, "tracking-only", "--scope", "tracking")
    media = made(ingest, "media-only", "--scope", "media")
    assert (track(ingest, tracking), start(ingest, tracking)) == (200, 401)
    assert (track(ingest, media), start(ingest, media)) == (401, 201)
    assert (track(ingest, OLD), start(ingest, OLD)) == (200, 201)
    assert (track(ingest, "invented"), start(ingest, "invented"), start(ingest, "")) == (401, 401, 401)
    reply = ingest.post("/api/v1/sessions", session_start(), headers={"X-API-Key": tracking})
    assert reply.json() == {"message": "Expected an API key with the scope media in the header X-API-Key"}
    assert reply.headers["access-control-allow-origin"] == "*"


def test_every_media_route_asks_for_a_key_if_the_setting_says_so(ingest: Ingest) -> None:
    """And the OpenAPI document says that; other routes need none."""
    path = ingest.start(session_start(), headers={"X-API-Key": OLD})
    for route, body in ((f"{path}/events", event("play")), ("/api/v1/downloaded", [])):
        assert ingest.post(route, body).status_code == 401
    assert ingest.post(f"{path}/events", event("play"), headers={"X-API-Key": OLD}).status_code == 204
    assert ingest.client.get("/health/ready").status_code == 200
    paths = ingest.client.get("/schema/openapi.json").json()["paths"]
    operations = [paths[route]["post"] for route in paths if route.startswith("/api/") and "post" in paths[route]]
    assert len(operations) == 3
    assert all("401" in each["responses"] and each["security"] == [{"key": []}] for each in operations)


def test_a_file_that_cannot_be_read_changes_nothing(ingest: Ingest) -> None:
    """The keys of before stay, and the log of the ingest says why, until the file is whole again."""
    key = made(ingest, "before-the-fault")
    file = ingest.data_dir / "secrets" / "named_keys.json"
    whole = file.read_bytes()

    def is_said(fault: str) -> bool:
        assert track(ingest, key) == 200
        return fault in ingest.output

    file.write_bytes(b"{")
    until(lambda: is_said("cannot be read"), within_s=5)
    file.unlink()
    until(lambda: is_said("is gone"), within_s=5)
    file.write_bytes(whole)
    reads = ingest.output.count("named API keys read")
    until(lambda: track(ingest, key) == 200 and ingest.output.count("named API keys read") > reads, within_s=5)


def test_no_key_is_written_anywhere(ingest: Ingest) -> None:
    """Neither in the file, which has hashes, nor in logs and records; only its owner can read the file."""
    key = made(ingest, "unwritten")
    assert track(ingest, key) == 200
    file = ingest.data_dir / "secrets" / "named_keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    files = [path for path in ingest.data_dir.rglob("*") if path.is_file()]
    assert len(files) > 1
    assert not [path for path in files if key.encode() in path.read_bytes()]
    assert key not in ingest.output


def test_an_ingest_runs_with_named_keys_alone(tmp_path: Path) -> None:
    """PLAYHEAD_API_KEYS may be left out; without any key it does not start."""
    file = tmp_path / "keys.json"
    key = add_key(file, "app", SCOPES, now=NOW)
    without = {name: value for name, value in SECRETS.items() if name != "PLAYHEAD_API_KEYS"}
    assert "PLAYHEAD_API_KEYS is not set" in failed(playhead("ingest", cwd=tmp_path, settings=without))
    with running(tmp_path / "data", named_keys=file, api_keys="") as one:
        assert (track(one, key), track(one, OLD)) == (200, 401)
        assert start(one, "") == 201


@pytest.mark.parametrize("name", ["", "Web", "a b", "settings-3", "unknown", "x" * 64, "-a", 'a"b'])
def test_a_name_is_fit_for_metrics(name: str, tmp_path: Path) -> None:
    """And can be told from those that we give ourselves."""
    with pytest.raises(NotReady, match="cannot be the name of a key"):
        add_key(tmp_path / "keys.json", name, SCOPES, now=NOW)


def test_keys_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    """The file is replaced as a whole, by one after the other."""
    file = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: add_key(file, f"key-{number}", SCOPES, now=NOW), range(40)))
    assert len(set(found)) == len(read_named_keys(file)) == 40
    revoke_key(file, "key-7", now=NOW)
    assert [key.name for key in read_named_keys(file) if key.revoked_at] == ["key-7"]
    with pytest.raises(NotReady, match="no key is named"):
        revoke_key(file, "key-70", now=NOW)


def test_simulated_viewers_have_the_key_that_media_events_need(ingest: Ingest) -> None:
    """They are told by the same setting, as in `playhead up`."""
    report = ingest.data_dir.parent / "truth.json"
    done = playhead(
        *("simulate", "--url", ingest.url, "--viewers", "3", "--for", "2s", "--report", str(report)),
        cwd=ingest.data_dir.parent,
        settings={**SECRETS, "PLAYHEAD_MEDIA_NEEDS_KEY": "on"},
    )
    assert done.returncode == 0, done.stderr
    truth = read_truth(report)
    assert truth.accepted > 0
    assert truth.surprises == ()
