"""What breaks, and since when?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: failures")


@app.cell
def _():
    import marimo as mo

    from notebooks import failures, figures, page, pictures, questions
    from notebooks.connect import read

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Failures")
    head
    return bar, failures, figures, lake, mo, page, pictures, questions, read, refresh, set_snapshot, snapshot


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
    mo.vstack(
        [
            mo.md("## Over time"),
            pictures.over_time(percent, title="% of sessions", note=choice.zone),
            mo.md(questions.points_in_words(over_time, choice)),
        ]
    )
    return


@app.cell
def _(choice, failures, lake):
    errors = failures.reported(lake, choice)
    ranked = errors.ranked
    first_seen = failures.first_seen(lake, choice)
    return errors, first_seen, ranked


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
def _(choice, figures, kinds, lake, mo, questions, ranked, read, said):
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
    of = questions.meaning("playback_failure_ratio_cta2066")
    shares = {
        "technical": (technical, f"Those whose last error is not marked as business, of {of}"),
        "business": (failed["business"], f"Those whose last error is marked as business, of {of}"),
    }
    mo.vstack(
        [
            mo.md("## Technical and business failures (closed sessions)"),
            figures.tiles(
                mo,
                [
                    figures.tile(
                        label,
                        count / failed["n"] if failed["n"] else None,
                        "ratio",
                        meaning=meaning,
                        n=failed["n"],
                        sample_min=choice.sample_min,
                    )
                    for label, (count, meaning) in shares.items()
                ],
            ),
            kinds if ranked else mo.md(""),
        ]
    )
    return (business,)


@app.cell
def _(choice, errors, mo, pictures, questions):
    from datetime import timedelta

    drawn = [
        {
            "at": questions.as_clock(choice.local(row["begins"])),
            "to": questions.as_clock(choice.local(row["begins"] + timedelta(seconds=choice.bucket_s))),
            "value": row["errors"],
            "series": row["series"],
        }
        for row in errors.over_time
    ]
    left_out = sum(row["errors"] for row in errors.ranked) - sum(row["errors"] for row in errors.over_time)
    mo.vstack(
        [
            mo.md("## Errors over time"),
            pictures.columns(drawn, title="errors", note=choice.zone),
            mo.md(
                f"Each column is {choice.bucket_words} in which they happened, of sessions that started in this "
                f"period; {left_out:,} errors at its edges, where no column is whole, are left out."
            ),
        ]
    )
    return


@app.cell
def _(business, choice, figures, first_seen, mo, page, questions, ranked):
    days = questions.LOOKED_BACK.days

    def first(row):
        seen = first_seen.get((row["error"], row["source"]), {"first_at": None, "first_in": ""})
        at = seen["first_at"]
        when = f"{days} days ago or earlier" if at is None else choice.clock(at)
        return {"first seen": when, "first in": seen["first_in"]}

    shown = [
        {
            "error": page.link(mo, "session", row["error"], error=row["error"]),
            "source": row["source"],
            "kind": "business" if row["error"] in business else "technical",
            "errors": row["errors"],
            "sessions": row["sessions"],
            "before start": row["before_start"],
            "ended sessions": row["ended_sessions"],
            **first(row),
            "most often in": row["often_in"] or "no version",
            "share of its sessions": figures.figure(row["share"], "ratio") if row["often_in"] else "",
            "of all others": figures.figure(row["rest_share"], "ratio") if row["often_in"] else "",
            "its n": row["version_n"],
        }
        for row in ranked
    ]
    meant = {
        "errors": questions.meaning("errors"),
        "sessions": f"Sessions with the error; see {questions.meaning('error_impacted_ratio_adobe')}",
        "before start": "Sessions that had it before main content played.",
        "ended sessions": f"Sessions that it ended; see {questions.meaning('playback_failure_ratio_cta2066')}",
        "first seen": f"Its first report in the last {days} days, whatever the filters.",
        "first in": "The version in which it was reported first, whatever the filters.",
        "most often in": "The version that has it more often than all others, by three standard errors.",
    }
    mo.vstack(
        [
            mo.md("## Errors, those that ended the most sessions first"),
            figures.table(
                mo,
                shown,
                empty="No player reported an error in this period.",
                page_size=20,
                header_tooltip=meant,
            ),
            mo.md(
                "An error leads to the sessions of this period that have it. "
                f"First seen: in the last {days} days, whatever the filters. No version: none has it more often "
                f"than all others by three standard errors, in at least {choice.sample_min} sessions."
            )
            if ranked
            else mo.md(""),
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
