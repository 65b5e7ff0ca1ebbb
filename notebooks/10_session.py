"""What happened to this viewer?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: one session")


@app.cell
def _():
    import os

    import marimo as mo

    from lake.find import NoSuchSession
    from lake.one_session import describe, show
    from notebooks import figures, filters, page, pictures
    from notebooks.connect import read, where
    from notebooks.names import as_text

    lake = page.lake_of(mo, "One session")
    place, length_ms = where(os.environ, page.folder(mo))
    return (
        NoSuchSession,
        as_text,
        describe,
        figures,
        filters,
        lake,
        length_ms,
        mo,
        page,
        pictures,
        place,
        read,
        show,
    )


@app.cell
def _(filters, lake, mo):
    given = mo.query_params()
    bar = filters.bar(mo, lake)
    search = mo.ui.text(
        value=given.get("session") or "",
        label="session id (its first characters) or user id",
        placeholder="019a...",
        full_width=True,
    )
    kind = mo.ui.dropdown(
        ["all", "with an error", "failed", "never started", "rebuffered most", "with a flag"],
        value="all",
        label="only",
    )
    return bar, given, kind, search


@app.cell
def _(bar, filters, kind, mo, search):
    mo.vstack([mo.md("# One session"), search, filters.shown(mo, bar), kind])
    return


@app.cell
def _(bar, kind, lake, mo, page, read, search):
    choice = page.chosen(mo, lake, bar)
    kinds = {
        "all": "true",
        "with an error": "errors > 0",
        "failed": "is_failed",
        "never started": "NOT is_started",
        "rebuffered most": "stalled_s > 0",
        "with a flag": "len(flags) > 0",
    }
    order = "stalled_s DESC" if kind.value == "rebuffered most" else "started_at DESC"
    wanted = search.value.strip()
    # An id or a user is looked for at any time, everything else in the period.
    within = (
        f"(starts_with(session_id, $wanted) OR user_id = $wanted) AND {choice.condition()}"
        if wanted
        else choice.started()
    )
    found = read(
        lake,
        f"""
        SELECT
            session_id, started_at, coalesce(content_name, content_id) AS content, player_name AS player,
            app_version, user_id AS user, state, round(content_time_s, 1) AS content_s,
            round(startup_s, 2) AS startup_s, round(stalled_s, 2) AS stalled_s, errors, flags
        FROM counted_sessions WHERE {within} AND {kinds[kind.value]}
        ORDER BY {order}, session_id LIMIT 200
        """,
        **{"wanted": wanted} if wanted else {},
        **(choice.among_values() if wanted else choice.values()),
    ).to_pylist()
    return choice, found


@app.cell
def _(as_text, choice, found, mo):
    mo.stop(
        not found, mo.md("No session fits. Take a longer period, fewer filters, or other characters of the id.")
    )
    listed = mo.ui.table(
        as_text(
            {"number": number, **row, "started_at": choice.clock(row["started_at"], seconds=True)}
            for number, row in enumerate(found)
        ),
        selection="single",
        initial_selection=[0],
        page_size=8,
        show_data_types=False,
        label="the first 200 sessions" if len(found) == 200 else f"{len(found)} sessions",
    )
    listed
    return (listed,)


@app.cell
def _(NoSuchSession, found, given, length_ms, listed, mo, place, show):
    mo.stop(not len(listed.value), mo.md("Select a session."))
    chosen_id = found[listed.value[0]["number"]]["session_id"]
    if given.get("session") != chosen_id:
        given.set("session", chosen_id)
    try:
        timeline = show(place, chosen_id, length_ms=length_ms)
    except NoSuchSession as fault:
        mo.stop(True, mo.md(str(fault)))
    return chosen_id, timeline


@app.cell
def _(choice, chosen_id, lake, mo, pictures, read, timeline):
    spans = read(
        lake,
        "SELECT doing, started_at, ended_at, head_from_s, head_to_s FROM spans WHERE session_id = $session_id",
        session_id=chosen_id,
    ).to_pylist()
    mo.vstack(
        [
            mo.md("## As a picture"),
            pictures.session(mo, spans, timeline.lines, choice),
            mo.md("What the session did (bars), its playhead (line), and its events (ticks; late ones are red)."),
        ]
    )
    return


@app.cell
def _(figures, mo, timeline):
    events = [
        {
            "offset": line.offset,
            "at s": round(line.at_s, 3),
            "took ms": line.delay_ms,
            "event": line.event_type,
            "playhead s": line.playhead_s,
            "then": line.player,
            "what it changed": ", ".join(
                f"{change.number} {change.before} > {change.after}" for change in line.changes
            ),
            "remarks": "; ".join([*line.remarks, *line.flags]),
        }
        for line in timeline.lines
    ]
    mo.vstack(
        [
            mo.md(f"## Its {len(events)} events"),
            figures.table(mo, events, page_size=25, wrapped_columns=["what it changed", "remarks"]),
        ]
    )
    return


@app.cell
def _(describe, mo, timeline):
    # The same text as `playhead session show` prints, with the arithmetic of each number.
    mo.vstack([mo.md("## Each number, with its arithmetic"), mo.plain_text("\n".join(describe(timeline)))])
    return


if __name__ == "__main__":
    app.run()
