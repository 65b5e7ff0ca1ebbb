"""The page `/demo`: a video that is played to an ingest, and beside it what the lake has of that session, live."""

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import urlsplit

import duckdb
import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lake.live import Live, Look
from notebooks.colours import DOING
from schemas.faults import NotReady
from schemas.settings import PREFIX

FOLDER: Final = Path(__file__).parent / "demo_files"
QUESTION: Final = "What does Playhead make of what I play?"
LINES_MAX: Final = 200
SOMEBODY: Final = "0" * 64  # a session that nobody has
ANY_HOST: Final = ("0.0.0.0", "::")
# The columns of the row that are shown, in groups.
SHOWN: Final = {
    "the session": ("state", "last_doing", "events", "is_started", "is_completed", "progress_pct", "flags"),
    "time": (
        *("startup_s", "content_time_s", "unique_played_s", "pause_time_s", "buffer_time_s", "stall_time_s"),
        *("seeks", "pauses", "playback_rate"),
    ),
    "ads": ("ad_breaks", "ads_started", "ads_completed", "ads_skipped", "ad_time_s"),
    "all else": ("chapters_started", "chapters_completed", "states", "errors", "clock_offset_ms"),
}
_NAMES: Final = [name for names in SHOWN.values() for name in names]
COLUMNS: Final = (*_NAMES, "started_at", "spans")
NO_INGEST: Final = (
    "This page plays a video to an ingest, and does not know one. <code>playhead up</code> runs an ingest and "
    "this page together. For <code>playhead notebooks</code> alone, set "
    f"<code>{PREFIX}NOTEBOOKS_INGEST_URL</code> to the address of an ingest that browsers reach, such as "
    "<code>http://127.0.0.1:8080</code>."
)


def routes(live: Live, ingest_url: str) -> list[Route | Mount]:
    """Return what serves the page, its files, and what it asks of the lake. Without an ingest, it says so."""

    def page(request: Request) -> HTMLResponse:
        ingest = reached_from(ingest_url, request.url.hostname or "")
        if not ingest:
            return _page("sentence.html", sentence=NO_INGEST)
        try:
            meanings = live.meanings()
        except (NotReady, duckdb.Error) as fault:
            return _page("sentence.html", sentence=html.escape(f"There is nothing to see yet: {fault}."))
        shown = _page("page.html", ingest=html.escape(ingest), row=_table(meanings), legend=_legend())
        shown.headers["content-security-policy"] = _policy(ingest)
        shown.background = BackgroundTask(live.look, SOMEBODY, COLUMNS)  # the first look imports, for seconds
        return shown

    def look(request: Request) -> Response:
        try:
            answer = answered(live.look(request.query_params.get("session", ""), COLUMNS))
        except (NotReady, duckdb.Error) as fault:
            answer = {"fault": str(fault)}
        headers = {"cache-control": "no-store"}
        return Response(msgspec.json.encode(answer), media_type="application/json", headers=headers)

    return [
        Route("/demo", lambda _: RedirectResponse("demo/")),
        Route("/demo/", page),
        Route("/demo/look", look),
        Mount("/demo/files", StaticFiles(directory=FOLDER)),
    ]


def reached_from(ingest_url: str, host: str) -> str:
    """Return the ingest's address for a browser that asked this server by `host`.

    An ingest that listens on every address is reached by the name that the browser already uses.
    """
    address = urlsplit(ingest_url)
    if address.hostname not in ANY_HOST or re.fullmatch(r"[\w.:-]+", host) is None:
        return ingest_url
    name = f"[{host}]" if ":" in host else host
    return f"{address.scheme}://{name}:{address.port or {'http': 80, 'https': 443}[address.scheme]}"


def answered(look: Look) -> dict[str, Any]:
    """Return what the page is told of one look, as JSON: text and numbers only."""
    timeline, row = look.timeline, look.row
    started_at = row.get("started_at")
    return {
        "behind_s": look.behind_s,
        "lines": [
            {
                "key": f"{line.client_ms} {line.event_type}",
                "event": line.event_type,
                "at_s": line.at_s,
                "playhead_s": line.playhead_s,
                "did": "; ".join(
                    [
                        *(f"{each.number} {_change(each.before, each.after)}" for each in line.changes),
                        *line.remarks,
                    ]
                ),
            }
            for line in (timeline.lines[-LINES_MAX:] if timeline else [])
        ],
        "refused": [each.detail for each in (timeline.refused[-LINES_MAX:] if timeline else [])],
        "row": {name: _text(row[name]) for name in _NAMES if name in row},
        "spans": [_span(span, started_at) for span in row.get("spans") or []] if started_at else [],
    }


def _change(before: object, after: object) -> str:
    if isinstance(before, int | float) and isinstance(after, int | float) and not isinstance(after, bool):
        return f"{after - before:+.10g}"
    return _text(after)


def _span(span: Mapping[str, Any], started_at: datetime) -> dict[str, Any]:
    return {
        "doing": span["doing"],
        "from_s": (span["started_at"] - started_at).total_seconds(),
        "to_s": (span["ended_at"] - started_at).total_seconds(),
        "head_from_s": span["head_from_s"],
        "head_to_s": span["head_to_s"],
    }


def _text(value: object) -> str:
    """Return a value of the row as a person reads it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case str():
            return value
        case Sequence():
            return ", ".join(map(_text, value))
    return str(value)


def _table(meanings: Mapping[str, str]) -> str:
    """Return the table of the row, empty: the page fills its cells, so nothing moves when values come."""
    return "".join(
        f'<tbody><tr><th colspan="2" scope="rowgroup">{group}</th></tr>'
        + "".join(
            f'<tr data-meaning="{html.escape(meanings.get(name) or "")}"><th scope="row">{name}</th>'
            f'<td id="row-{name}"></td></tr>'
            for name in names
        )
        + "</tbody>"
        for group, names in SHOWN.items()
    )


def _legend() -> str:
    return "".join(
        f'<li data-doing="{doing}"><svg viewBox="0 0 1 1" aria-hidden="true">'
        f'<rect width="1" height="1" fill="{colour}"/></svg>{doing} <span></span></li>'
        for doing, colour in DOING.items()
    )


def _policy(ingest: str) -> str:
    """Return what the page may reach: itself and the ingest."""
    sources = {
        "default-src": "'none'",
        "script-src": f"'self' {ingest}",
        "connect-src": f"'self' {ingest}",
        **dict.fromkeys(("style-src", "media-src"), "'self'"),
        "img-src": "data:",
        **dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'"),
    }
    return "; ".join(f"{kind} {allowed}" for kind, allowed in sources.items())


def _page(file: str, **parts: str) -> HTMLResponse:
    return HTMLResponse(Template((FOLDER / file).read_text()).substitute(parts))
