"""How many watch, and when?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: audience")


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
        mo.stop(True, mo.md(f"# Audience\nThere is nothing to see yet: {fault}."))
    return as_text, filters, lake, mo, newest_snapshot, pictures, questions, read, zoneinfo


@app.cell
def _(filters, lake, mo):
    refresh = mo.ui.refresh(options=["10s", "1m", "10m"], default_interval="10s")
    bar = filters.bar(mo, lake)
    snapshot, set_snapshot = mo.state(0)
    return bar, refresh, set_snapshot, snapshot


@app.cell
def _(bar, filters, mo, refresh):
    mo.vstack([mo.hstack([mo.md("# Audience"), refresh], align="center"), filters.shown(mo, bar)])
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
    cut_by = mo.ui.dropdown(list(filters.DIMENSIONS), value="site", label="cut by")
    return (cut_by,)


@app.cell
def _(choice, compared, lake, mo, pictures, questions, zone):
    lines = [
        {"at": pictures.as_clock(row["at"] + moved, zone), "value": row["viewers"], "series": series}
        for series, asked, moved in (
            ("this period", choice, choice.back * 0),
            (compared, choice.before(), choice.back),
        )
        for row in questions.audience(lake, asked).to_pylist()
    ]
    now = [line["value"] for line in lines if line["series"] == "this period"]
    then = [line["value"] for line in lines if line["series"] == compared]

    def mean(values):
        return sum(values) / len(values) if values else None

    mo.vstack(
        [
            pictures.tiles(
                mo,
                [
                    pictures.tile(
                        "average audience",
                        mean(now),
                        "viewers",
                        meaning="Sessions that played main content or ads, in the mean of the period.",
                        before=mean(then),
                        compared=compared,
                    ),
                    pictures.tile(
                        "peak", max(now, default=None), "viewers", meaning=f"Largest {choice.bucket_words}."
                    ),
                ],
            ),
            mo.md("## Watching at once"),
            pictures.over_time(lines, title="viewers in the mean", note=choice.zone),
            mo.md(
                f"Main content or ads playing, in the mean of each {choice.bucket_words} that is over; silence "
                "and pauses are not watching."
            ),
        ]
    )
    return


@app.cell
def _(choice, cut_by, filters, lake, mo, pictures, questions, zone):
    parts = questions.audience_by(lake, choice, filters.DIMENSIONS[cut_by.value])
    mo.vstack(
        [
            mo.hstack([mo.md("## By"), cut_by], justify="start"),
            pictures.stacked(
                [
                    {"at": pictures.as_clock(row["at"], zone), "value": row["viewers"], "series": row["value"]}
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
def _(choice, mo):
    # Your schedule: one row a programme.
    schedule = mo.ui.data_editor(
        [
            {
                "programme": "an hour of the period",
                "since": (choice.until - choice.back * 0).strftime("%Y-%m-%dT%H:00:00Z"),
                "until": choice.until.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "channel": "",
            }
        ],
        label="Programmes: name, since and until (with Z for UTC, or an offset), and a channel or nothing for all",
    )
    schedule
    return (schedule,)


@app.cell
def _(as_text, lake, mo, read, schedule):
    answers = []
    for slot in schedule.value:
        answers += read(
            lake,
            "SELECT programme, since_at AS since, until_at AS until, sessions, viewers, "
            "round(played_s / 3600, 2) AS hours, round(average_audience, 2) AS average_audience "
            "FROM programme_audience("
            "[{programme: $programme, since: $since::TIMESTAMPTZ, until: $until::TIMESTAMPTZ}], "
            "on_channel := $channel)",
            **{name: str(slot.get(name) or "") for name in ("programme", "since", "until", "channel")},
        ).to_pylist()
    mo.vstack(
        [
            mo.md("## Programmes"),
            mo.ui.table(as_text(answers), selection=None, pagination=False, show_data_types=False),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
