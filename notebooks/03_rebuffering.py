"""Who suffers from rebuffering?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: rebuffering")


@app.cell
def _():
    import marimo as mo

    from notebooks import figures, page, pictures, questions
    from notebooks.connect import read

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Rebuffering")
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
    cut_by = page.cut_by(mo, bar, "player")
    return (cut_by,)


@app.cell
def _(choice, figures, lake, mo, questions):
    catalogue = questions.definitions()
    shares = [name for name in catalogue if name.startswith("rebuffer_ratio_")]
    rates = [name for name in catalogue if name.startswith(("rebuffers_per_", "time_between_rebuffers"))]
    (now,) = questions.metrics(lake, choice, shares + rates)
    (then,) = questions.metrics(lake, choice.before(), shares + rates)

    def rows(names):
        return [
            {
                "metric": name,
                "value": figures.sampled(now[name], catalogue[name].unit, now["n"], choice.sample_min),
                "before": figures.sampled(then[name], catalogue[name].unit, then["n"], choice.sample_min),
                "what it divides": f"{catalogue[name].numerator} / {catalogue[name].denominator}",
                "meaning": catalogue[name].meaning,
            }
            for name in names
        ]

    mo.vstack(
        [
            mo.md(f"## Share of time, by each definition (n = {now['n']:,}; before: {then['n']:,})"),
            mo.md(
                "Sources use one word for different numbers: whether a seek's buffering counts, whether stalls "
                "count, and whether the time it is divided by has ads and startup in it."
            ),
            figures.table(mo, rows(shares), pagination=False, wrapped_columns=["meaning"]),
            mo.md("## How often"),
            figures.table(mo, rows(rates), pagination=False, wrapped_columns=["meaning"]),
        ]
    )
    return


@app.cell
def _(choice, figures, lake, mo, read):
    (parts,) = read(
        lake,
        f"""
        SELECT
            count(*) AS n,
            count(*) FILTER (stalled_s > 0.01 * (content_time_s + stalled_s)) / count(*) AS over_1_pct,
            sum(stalled_s) AS stalled_s,
            sum(coalesce(seek_buffer_time_s, 0)) AS by_seeks_s,
            sum(stall_time_s) AS stalls_s
        FROM counted_sessions
        WHERE is_started AND {choice.started()}
        """,
        **choice.values(),
    ).to_pylist()
    enough = {"n": parts["n"], "sample_min": choice.sample_min}
    mo.vstack(
        [
            mo.md("## Who, and why"),
            figures.tiles(
                mo,
                [
                    figures.tile(
                        "sessions that suffer",
                        parts["over_1_pct"],
                        "ratio",
                        meaning="Sessions that rebuffered or stalled for over 1 % of their content time.",
                        **enough,
                    ),
                    figures.tile(
                        "lost in all",
                        (parts["stalled_s"] or 0) / 3600,
                        "h",
                        meaning="Rebuffering and stalls of main content.",
                        **enough,
                    ),
                    figures.tile(
                        "of it after seeks",
                        parts["by_seeks_s"] / parts["stalled_s"] if parts["stalled_s"] else None,
                        "ratio",
                        meaning="Buffering right after the playhead jumped: the viewer caused it.",
                        **enough,
                    ),
                    figures.tile(
                        "of it unsaid",
                        parts["stalls_s"] / parts["stalled_s"] if parts["stalled_s"] else None,
                        "ratio",
                        meaning="Stalls: the player claimed to play, and the playhead did not move.",
                        **enough,
                    ),
                ],
            ),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions):
    lines = {name: name for name in ("rebuffer_ratio_cta2066", "stall_ratio_adobe")}
    over_time = questions.metrics(lake, choice, list(lines), by=choice.bucket, order="value")
    percent = questions.points(over_time, choice, lines, factor=100)
    mo.vstack([mo.md("## Over time"), pictures.over_time(percent, title="% of time", note=choice.zone)])
    return


@app.cell
def _(choice, cut_by, figures, lake, mo):
    names = ["rebuffer_ratio_cta2066", "rebuffers_per_hour", "buffer_impacted_ratio_adobe", "content_time_s"]
    figures.by_dimension(mo, lake, choice, names, cut_by)
    return


@app.cell
def _(choice, figures, lake, mo, questions):
    differing = questions.most_different(lake, choice)
    mo.vstack(
        [
            mo.md("## Which combination differs most from all others"),
            figures.differing(mo, differing, combination="combination", share="sessions that suffer"),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
