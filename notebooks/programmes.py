"""Programmes by a schedule that a reader types: who watched each, and what is wrong with a row."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lake.reading import Reader
from notebooks.connect import read

COLUMNS = ("programme", "since", "until", "channel")


def schedule_in(address: str | None, usual: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the schedule that a page's address has, or the usual row if it has none that can be read."""
    try:
        rows = json.loads(address or "")
    except ValueError:
        rows = []
    kept = [_row(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return kept or [dict(usual)]


def audience(lake: Reader, schedule: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each programme of a schedule, and a sentence for each that has none."""
    answers: list[dict[str, Any]] = []
    wrong: list[str] = []
    for slot in map(_row, schedule):
        if not any(slot.values()):
            continue  # a row that was added and not filled yet
        mistake = _mistake(lake, slot)
        if mistake:
            wrong.append(f"{slot['programme'] or 'A programme without a name'}: {mistake}")
            continue
        answers += read(
            lake,
            "SELECT programme, since_at AS since, until_at AS until, sessions, viewers, "
            "round(played_s / 3600, 2) AS hours, round(average_audience, 2) AS average_audience "
            "FROM programme_audience("
            "[{programme: $programme, since: $since::TIMESTAMPTZ, until: $until::TIMESTAMPTZ}], "
            "on_channel := $channel)",
            **slot,
        ).to_pylist()
    return answers, wrong


def _row(slot: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(slot.get(name) or "") for name in COLUMNS}


def _mistake(lake: Reader, slot: Mapping[str, str]) -> str | None:
    """Return why there is no audience for a row; None if there is one."""
    (times,) = read(
        lake,
        "SELECT TRY_CAST($since AS TIMESTAMPTZ) AS since, TRY_CAST($until AS TIMESTAMPTZ) AS until",
        since=slot["since"],
        until=slot["until"],
    ).to_pylist()
    for name in ("since", "until"):
        if times[name] is None:
            return f"`{name}` is {slot[name]!r}, which is no time: write 2026-08-03 20:15, or 2026-08-03 20:15+02"
    return None if times["since"] < times["until"] else "`until` is not after `since`"
