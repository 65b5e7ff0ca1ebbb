"""Who suffers from rebuffering?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: rebuffering")


@app.cell
def _():
    import marimo as mo

    from notebooks import figures, page, pictures, questions

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Rebuffering")
    head
    return bar, figures, lake, mo, page, pictures, questions, refresh, set_snapshot, snapshot


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
    now, then = questions.metrics_of_times(lake, [choice, choice.before()], shares + rates)

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
def _(choice, figures, lake, mo):
    losses = {
        "rebuffer_over_1_pct_ratio": "sessions that suffer",
        "stalled_s": "lost in all",
        "rebuffer_by_seek_ratio": "of it after seeks",
        "rebuffer_by_stall_ratio": "of it unsaid",
    }
    counted = dict.fromkeys(losses, "content_starts_adobe")
    mo.vstack(
        [
            mo.md("## Who, and why (n: sessions whose main content played)"),
            figures.tiles(mo, figures.metric_tiles(lake, choice, losses, of=counted).values()),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions):
    lines = {name: name for name in ("rebuffer_ratio_cta2066", "stall_ratio_adobe")}
    over_time = questions.metrics(lake, choice, list(lines), by=choice.bucket, order="value")
    percent = questions.points(over_time, choice, lines, factor=100)
    mo.vstack(
        [
            mo.md("## Over time"),
            pictures.over_time(percent, title="% of time", note=choice.zone),
            mo.md(questions.points_in_words(over_time, choice)),
        ]
    )
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
            mo.md(
                "Of content, app version, player, CDN and country: those that differ by three standard errors, in "
                f"at least {choice.sample_min} sessions whose main content played."
            ),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
