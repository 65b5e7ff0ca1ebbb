"""What breaks, and since when?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: failures")


@app.cell
def _():
    import marimo as mo

    from notebooks import figures, page, pictures, questions
    from notebooks.connect import read

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Failures")
    head
    return bar, figures, lake, mo, page, pictures, questions, read, refresh, set_snapshot, snapshot


@app.cell
def _(lake, page, refresh, set_snapshot, snapshot):
    refresh  # now and then
    page.look(lake, snapshot, set_snapshot)
    return


@app.cell
def _(bar, lake, mo, page, snapshot):
    snapshot()
    choice = page.chosen(mo, lake, bar)
    page.filters_in_words(mo, choice)
    return (choice,)


@app.cell
def _(bar, mo, page):
    cut_by = page.cut_by(mo, bar, "app version")
    return (cut_by,)


@app.cell
def _(choice, figures, lake, mo):
    names = {
        "start_failure_ratio_conviva": "failed to start",
        "playback_failure_ratio_conviva": "failed while playing",
        "error_impacted_ratio_adobe": "saw an error",
        "errors": "errors",
        "success_ratio_pillarbox": "went well",
    }
    mo.vstack(
        [
            mo.md(f"## Sessions that started in this period, and {choice.compared}"),
            figures.compared(mo, lake, choice, names),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions):
    rates = {
        "start_failure_ratio_conviva": "failed to start",
        "playback_failure_ratio_conviva": "failed while playing",
    }
    over_time = questions.metrics(lake, choice, list(rates), by=choice.bucket, order="value")
    percent = questions.points(over_time, choice, rates, factor=100)
    mo.vstack([mo.md("## Over time"), pictures.over_time(percent, title="% of sessions", note=choice.zone)])
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
            WHERE errors > 0 AND {choice.started()}
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
    # A business error (no subscription, wrong country, too many devices) is no defect: say which are. The address
    # keeps what was said, since the table is made again when the errors change.
    def said(rows):
        return [row["error"] for row in rows if str(row["is_business"]).lower() == "true"]

    marked = mo.query_params().get_all("business")
    kinds = mo.ui.data_editor(
        [{"error": row["error"], "is_business": row["error"] in marked} for row in ranked][:50],
        label="Which errors are business, not technical",
        on_change=lambda rows: mo.query_params().set("business", said(rows)),
    )
    return kinds, said


@app.cell
def _(choice, figures, kinds, lake, mo, page, ranked, read, said):
    business = said(kinds.value)
    (failed,) = read(
        lake,
        f"""
        SELECT
            count(*) FILTER (is_failed) AS failed,
            count(*) FILTER (is_failed AND list_contains($business, playback_errors[-1].error_id)) AS business,
            count(*) AS n
        FROM counted_sessions
        WHERE is_closed AND has_start AND {choice.started()}
        """,
        business=business,
        **choice.values(),
    ).to_pylist()
    technical = failed["failed"] - failed["business"]
    enough = {"n": failed["n"], "sample_min": choice.sample_min}
    shown = [
        {
            "error": page.link(mo, "session", row["error"], error=row["error"]),
            "source": row["source"],
            "errors": row["errors"],
            "sessions": row["sessions"],
            "before start": row["before_start"],
            "ended sessions": row["ended_sessions"],
            "first": choice.clock(row["first_at"]),
            "most in version": row["most_in_version"],
            "kind": "business" if row["error"] in business else "technical",
        }
        for row in ranked
    ]
    mo.vstack(
        [
            mo.md("## Technical and business failures (closed sessions)"),
            figures.tiles(
                mo,
                [
                    figures.tile("technical", technical / failed["n"] if failed["n"] else None, "ratio", **enough),
                    figures.tile(
                        "business", failed["business"] / failed["n"] if failed["n"] else None, "ratio", **enough
                    ),
                ],
            ),
            kinds if ranked else mo.md(""),
            mo.md("## Errors, those that ended the most sessions first"),
            figures.table(mo, shown, empty="No player reported an error in this period.", page_size=20),
            mo.md("An error leads to the sessions of this period that have it.") if ranked else mo.md(""),
        ]
    )
    return


@app.cell
def _(choice, cut_by, figures, lake, mo):
    columns = ["start_failure_ratio_conviva", "playback_failure_ratio_conviva", "error_impacted_ratio_adobe"]
    figures.by_dimension(mo, lake, choice, columns, cut_by)
    return


if __name__ == "__main__":
    app.run()
