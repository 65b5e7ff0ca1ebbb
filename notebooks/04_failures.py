"""What breaks, and since when?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: failures")


@app.cell
def _():
    import os
    import zoneinfo
    from pathlib import Path

    import marimo as mo

    from notebooks import filters, pictures, questions
    from notebooks.connect import newest_snapshot, open_lake, read
    from notebooks.names import as_text
    from schemas.faults import NotReady

    data = mo.cli_args().get("data")
    try:
        lake = open_lake(os.environ, Path(str(data)) if data else None)
    except NotReady as fault:
        mo.stop(True, mo.md(f"# Failures\nThere is nothing to see yet: {fault}."))
    return as_text, filters, lake, mo, newest_snapshot, pictures, questions, read, zoneinfo


@app.cell
def _(filters, lake, mo):
    refresh = mo.ui.refresh(options=["10s", "1m", "10m"], default_interval="10s")
    bar = filters.bar(mo, lake)
    snapshot, set_snapshot = mo.state(0)
    return bar, refresh, set_snapshot, snapshot


@app.cell
def _(bar, filters, mo, refresh):
    mo.vstack([mo.hstack([mo.md("# Failures"), refresh], align="center"), filters.shown(mo, bar)])
    return


@app.cell
def _(lake, newest_snapshot, refresh, set_snapshot, snapshot):
    refresh
    # What is below is computed again only when the lake has changed.
    if (newest := newest_snapshot(lake)) != snapshot():
        set_snapshot(newest)
    return


@app.cell
def _(bar, filters, lake, mo, snapshot, zoneinfo):
    snapshot()
    newest_at = filters.newest_moment(lake)
    mo.stop(newest_at is None, mo.md(filters.EMPTY))
    choice = filters.chosen(mo, bar.value, newest_at)
    zone = zoneinfo.ZoneInfo(choice.zone)
    compared = bar.value["compare"]
    mo.md(f"Filters: {choice.words}")
    return choice, compared, zone


@app.cell
def _(filters, mo):
    cut_by = mo.ui.dropdown(list(filters.DIMENSIONS), value="app version", label="cut by")
    return (cut_by,)


@app.cell
def _(choice, compared, lake, mo, pictures, questions):
    names = {
        "start_failure_ratio_conviva": "failed to start",
        "playback_failure_ratio_conviva": "failed while playing",
        "error_impacted_ratio_adobe": "saw an error",
        "errors": "errors",
        "success_ratio_pillarbox": "went well",
    }
    mo.vstack(
        [
            mo.md(f"## Sessions that started in this period, and {compared}"),
            pictures.compared(mo, questions, lake, choice, names, compared),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions, zone):
    rates = {
        "start_failure_ratio_conviva": "failed to start",
        "playback_failure_ratio_conviva": "failed while playing",
    }
    over_time = questions.metrics(lake, choice, list(rates), by=choice.bucket, order="value")
    lines = [
        {"at": pictures.as_clock(row["value"], zone), "value": row[name] * 100, "series": series}
        for name, series in rates.items()
        for row in over_time
        if row["n"] >= choice.sample_min and row[name] is not None
    ]
    mo.vstack([mo.md("## Over time"), pictures.over_time(lines, title="% of sessions", note=choice.zone)])
    return


@app.cell
def _(choice, lake, read):
    ranked = read(
        lake,
        f"""
        WITH every AS (
            SELECT
                session_id, is_failed, app_version, len(playback_errors) AS in_session,
                unnest(playback_errors) AS error, unnest(range(1, len(playback_errors) + 1)) AS place
            FROM counted_sessions
            WHERE errors > 0 AND started_at >= $since AND started_at < $until AND {choice.condition()}
        )
        SELECT
            coalesce(error.error_id, 'unknown') AS error,
            coalesce(error.source, 'unknown') AS source,
            count(*) AS errors,
            count(DISTINCT session_id) AS sessions,
            count(DISTINCT session_id) FILTER (error.is_before_start) AS before_start,
            count(DISTINCT session_id) FILTER (is_failed AND place = in_session) AS ended_sessions,
            min(error.at) AS first_at,
            mode(app_version) AS most_in_version
        FROM every GROUP BY ALL ORDER BY ended_sessions DESC, errors DESC, error
        """,
        **choice.values(),
    ).to_pylist()
    return (ranked,)


@app.cell
def _(mo, ranked):
    # A business error (no subscription, wrong country, too many devices) is no defect: say which are.
    kinds = mo.ui.data_editor(
        [{"error": row["error"], "is_business": False} for row in ranked][:50],
        label="Which errors are business, not technical",
    )
    return (kinds,)


@app.cell
def _(as_text, choice, kinds, lake, mo, pictures, ranked, read, zone):
    business = [row["error"] for row in kinds.value if str(row["is_business"]).lower() == "true"]
    (failed,) = read(
        lake,
        f"""
        SELECT
            count(*) FILTER (is_failed) AS failed,
            count(*) FILTER (is_failed AND list_contains($business, playback_errors[-1].error_id)) AS business,
            count(*) AS n
        FROM counted_sessions
        WHERE is_closed AND has_start AND started_at >= $since AND started_at < $until AND {choice.condition()}
        """,
        business=business,
        **choice.values(),
    ).to_pylist()
    technical = failed["failed"] - failed["business"]
    enough = {"n": failed["n"], "sample_min": choice.sample_min}
    shown = [
        {
            **row,
            "first_at": row["first_at"].astimezone(zone).strftime("%Y-%m-%d %H:%M"),
            "kind": "business" if row["error"] in business else "technical",
        }
        for row in ranked
    ]
    mo.vstack(
        [
            mo.md("## Technical and business failures (closed sessions)"),
            pictures.tiles(
                mo,
                [
                    pictures.tile(
                        "technical", technical / failed["n"] if failed["n"] else None, "ratio", **enough
                    ),
                    pictures.tile(
                        "business", failed["business"] / failed["n"] if failed["n"] else None, "ratio", **enough
                    ),
                ],
            ),
            kinds if ranked else mo.md(""),
            mo.md("## Errors, those that ended the most sessions first"),
            mo.ui.table(as_text(shown), selection=None, page_size=20, show_data_types=False)
            if ranked
            else mo.md("No player reported an error in this period."),
        ]
    )
    return


@app.cell
def _(as_text, choice, cut_by, lake, mo, pictures, questions):
    columns = ["start_failure_ratio_conviva", "playback_failure_ratio_conviva", "error_impacted_ratio_adobe"]
    table = pictures.by_value(
        as_text,
        questions.by_dimension(lake, choice, columns, cut_by.value),
        questions.definitions(),
        choice.sample_min,
    )
    mo.vstack(
        [
            mo.hstack([mo.md("## By"), cut_by], justify="start"),
            mo.ui.table(table, selection=None, page_size=15, show_data_types=False),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
