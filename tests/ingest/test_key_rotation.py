"""Keys of an ingest are replaced as docs/runbook.md says, while players play."""

from pathlib import Path

from rigs.commands import playhead
from rigs.ingest import event, running, session_start

OLD, NEW = "an old key, of more than 32 characters", "a new key, of more than 32 characters"
TRACKING = "/v1/playouts/tracking/session"
API = {"X-API-Key": "string"}


def test_sessions_go_on_while_the_signing_key_is_replaced(tmp_path: Path) -> None:
    """First all know the new key, then one after the other signs with it; a day later the old one goes."""
    data = tmp_path / "data"
    with (
        running(data, mac_key=OLD, mac_key_previous=NEW) as first,
        running(data, mac_key=NEW, mac_key_previous=OLD) as second,
    ):
        older, newer = first.start(session_start()), second.start(session_start())
        token = first.client.post(TRACKING, headers=API).headers["x-jay-tracking"]
        for ingest in (first, second):
            for path in (older, newer):
                assert ingest.post(f"{path}/events", event("play")).status_code == 204
        named = {**API, "X-JAY-TRACKING": token}
        assert second.client.get(TRACKING, headers=named).status_code == 200
    with running(data, mac_key=NEW) as ingest:
        assert ingest.post(f"{newer}/events", event("ping")).status_code == 204
        assert ingest.post(f"{older}/events", event("ping")).status_code == 404


def test_a_viewer_has_another_pseudonym_under_another_key(tmp_path: Path) -> None:
    """`playhead pseudonym` finds it with the key that it was made with, so an old key is kept."""
    with running(tmp_path / "data", pseudonym_key=OLD) as ingest:
        path = ingest.start(session_start(**{"analytics.visitorId": "alice"}))
        (record,) = ingest.events(path)
    old, new = (
        playhead(
            "pseudonym", "user", "alice", cwd=tmp_path, settings={"PLAYHEAD_PSEUDONYM_KEY": key}
        ).stdout.strip()
        for key in (OLD, NEW)
    )
    assert old in str(record)
    assert new not in str(record)
    assert len(new) == len(old) > 20
