"""What happened to this viewer?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: one session")


@app.cell
def _():
    import os

    import marimo as mo

    from lake.find import NoSuchSession
    from lake.one_session import describe, show
    from notebooks import figures, filters, page, viewing
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
        place,
        read,
        show,
        viewing,
    )


@app.cell
def _(filters, lake, mo, page):
    # No variable has the address: marimo would run its cells again at each change of it.
    bar = filters.bar(mo, lake)
    is_one = not any(name in mo.query_params() for name in ("find", "error", "only"))
    search = page.text(
        mo,
        "find",
        "session id (its first characters) or user id, at any time",
        usual=mo.query_params().get("session") or "" if is_one else "",
        placeholder="019a...",
        full_width=True,
    )
    error = page.text(mo, "error", "error id", placeholder="any")
    kinds = {
        "all": "true",
        "with an error": "errors > 0",
        "failed": "is_failed",
        "never started": "NOT is_started",
        "rebuffered most": "stalled_s > 0",
        "with a flag": "len(flags) > 0",
    }
    kind = page.dropdown(mo, "only", list(kinds), "only", "all")
    return bar, error, kind, kinds, search


@app.cell
def _(bar, error, filters, kind, mo, search):
    narrower = mo.hstack([kind, error], justify="start", wrap=True)
    mo.vstack([mo.md("# One session"), search, filters.shown(mo, bar), narrower])
    return


@app.cell
def _(bar, error, filters, kind, kinds, lake, mo, page, read, search):
    choice = page.chosen(mo, lake, bar)
    order = "stalled_s DESC" if kind.value == "rebuffered most" else "started_at DESC"
    values = {"wanted": search.value.strip(), "error": error.value.strip()}
    # An id or a user is looked for at any time, everything else in the period.
    conditions = [kinds[kind.value], choice.condition() if values["wanted"] else choice.started()]
    if values["wanted"]:
        conditions.append("(starts_with(session_id, $wanted) OR user_id = $wanted)")
    if values["error"]:
        names = f"list_transform(playback_errors, lambda each: coalesce(each.error_id, '{filters.UNKNOWN}'))"
        conditions.append(f"list_contains({names}, $error)")
    found = read(
        lake,
        f"""
        SELECT
            session_id, started_at, coalesce(content_name, content_id) AS content, player_name AS player,
            app_version, user_id AS user, state, round(content_time_s, 1) AS content_s,
            round(startup_s, 2) AS startup_s, round(stalled_s, 2) AS stalled_s, errors, flags
        FROM counted_sessions WHERE {" AND ".join(conditions)}
        ORDER BY {order}, session_id LIMIT 200
        """,
        **{name: value for name, value in values.items() if value},
        **(choice.among_values() if values["wanted"] else choice.values()),
    ).to_pylist()
    return choice, found


@app.cell
def _(as_text, choice, found, mo):
    mo.stop(not found, mo.md("No session fits. Take a longer period, fewer filters, or another id."))
    # The one that the address names, if it is among them.
    named = mo.query_params().get("session")
    first = next((place for place, row in enumerate(found) if row["session_id"] == named), 0)
    listed = mo.ui.table(
        as_text(
            {"number": number, **row, "started_at": choice.clock(row["started_at"], seconds=True)}
            for number, row in enumerate(found)
        ),
        selection="single",
        initial_selection=[first],
        page_size=8,
        show_data_types=False,
        label=f"sessions: {'the first ' * (len(found) == 200)}{len(found)}",
    )
    listed
    return (listed,)


@app.cell
def _(NoSuchSession, found, length_ms, listed, mo, place, show):
    mo.stop(not len(listed.value), mo.md("Select a session."))
    chosen_id = found[listed.value[0]["number"]]["session_id"]
    if mo.query_params().get("session") != chosen_id:
        mo.query_params().set("session", chosen_id)
    try:
        timeline = show(place, chosen_id, length_ms=length_ms)
    except NoSuchSession as fault:
        mo.stop(True, mo.md(str(fault)))
    return chosen_id, timeline


@app.cell
def _(choice, chosen_id, lake, mo, read, timeline, viewing):
    spans = read(
        lake,
        "SELECT doing, started_at, ended_at, head_from_s, head_to_s FROM spans WHERE session_id = $session_id",
        session_id=chosen_id,
    ).to_pylist()
    shown = viewing.viewing(timeline, spans, choice)
    later = f" {shown.left_out:,} arrivals are later than the picture." if shown.left_out else ""
    mo.vstack(
        [
            mo.md("## As a picture"),
            viewing.picture(mo, shown),
            mo.md(
                "What the session did, the player states that were on (bars), its events when they happened and "
                f"when they came (ticks; late ones red), its playhead, and its bitrate (lines).{later}"
            ),
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
