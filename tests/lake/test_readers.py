"""Who asks the lake never waits for the writer, and is never refused because of it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rigs.lake import Lake, write
from rigs.readers import ask_from_other_processes
from rigs.session_model import NOON_MS, make_event, session_id

QUESTIONS = 42
EVENTS_A_COMMIT = 200


def test_no_question_fails_while_commits_follow_each_other(tmp_path: Path) -> None:
    """A process asks questions of all kinds while a worker commits; `make bench-readers` asks more."""
    lake = Lake(tmp_path)
    commits = 0
    with lake.writer() as writer, ThreadPoolExecutor(1) as thread:
        held = writer.load(0, None)
        asking = thread.submit(ask_from_other_processes, tmp_path, QUESTIONS)
        while not asking.done():
            first = commits * EVENTS_A_COMMIT
            viewer = session_id(commits, NOON_MS)
            log = [
                make_event("ping" if n else "sessionStart", ts=NOON_MS + n, offset=first + n, session_id=viewer)
                for n in range(EVENTS_A_COMMIT)
            ]
            write(writer, held, log)
            commits += 1
    asked = asking.result()
    assert [each.error for each in asked if each.error] == []
    assert len(asked) == QUESTIONS
    assert commits > 10
    assert lake.ask("SELECT count(*) FROM events") == [(commits * EVENTS_A_COMMIT,)]
