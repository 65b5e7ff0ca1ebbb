"""How many watch, and when?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: audience")


@app.cell
def _():
    import marimo as mo

    from notebooks import figures, filters, page, pictures, questions

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Audience")
    head
    return bar, figures, filters, lake, mo, page, pictures, questions, refresh, set_snapshot, snapshot


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
    cut_by = page.cut_by(mo, bar, "site")
    return (cut_by,)


@app.cell
def _(choice, figures, filters, lake, mo, pictures, questions):
    known_from = filters.first_moment(lake) or choice.until
    lines = questions.audience_compared(lake, choice, known_from)
    now = [line["value"] for line in lines if line["series"] == "this period"]
    then = [line["value"] for line in lines if line["series"] == choice.compared]

    def mean(values):
        return sum(values) / len(values) if values else None

    mo.vstack(
        [
            figures.tiles(
                mo,
                [
                    figures.tile(
                        "average audience",
                        mean(now),
                        "viewers",
                        meaning="Sessions that played main content or ads, in the mean of the period.",
                        before=mean(then),
                        compared=choice.compared,
                    ),
                    figures.tile(
                        "peak", max(now, default=None), "viewers", meaning=f"Largest {choice.bucket_words}."
                    ),
                ],
            ),
            mo.md("## Watching at once"),
            pictures.over_time(lines, title="viewers in the mean", note=choice.zone),
            mo.md(
                f"Main content or ads playing, in the mean of each {choice.bucket_words} that is over; silence "
                "and pauses are not watching. What was before the lake began is unknown."
            ),
        ]
    )
    return


@app.cell
def _(choice, cut_by, filters, lake, mo, pictures, questions):
    parts = questions.audience_by(lake, choice, filters.column(cut_by.value))
    mo.vstack(
        [
            mo.hstack([mo.md("## By"), cut_by], justify="start"),
            pictures.stacked(
                [
                    {
                        "at": questions.as_clock(choice.local(row["at"])),
                        "value": row["viewers"],
                        "series": row["value"],
                    }
                    for row in parts
                ],
                title="viewers in the mean",
                note=choice.zone,
            ),
            mo.md("The seven largest, and all others."),
        ]
    )
    return


@app.cell
def _(filters, lake, mo):
    import json
    from datetime import timedelta

    from notebooks import programmes

    # Your schedule: one row a programme. It is in the address, and is not made again when data arrive.
    newest = filters.newest_moment(lake)
    mo.stop(newest is None)
    an_hour = {
        "programme": "the newest hour",
        "since": (newest - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "until": newest.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "channel": "",
    }
    schedule = mo.ui.data_editor(
        programmes.schedule_in(mo.query_params().get("programmes"), an_hour),
        label="Programmes: name, since and until (UTC, or with an offset), and a channel or nothing for all",
        on_change=lambda rows: mo.query_params().set("programmes", json.dumps(rows)),
    )
    schedule
    return programmes, schedule


@app.cell
def _(figures, lake, mo, programmes, schedule, snapshot):
    snapshot()
    answers, wrong = programmes.audience(lake, schedule.value)
    mo.vstack(
        [
            mo.md("## Programmes"),
            figures.table(mo, answers, pagination=False),
            *(mo.callout(mo.plain_text(sentence), kind="warn") for sentence in wrong),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
