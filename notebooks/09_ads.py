"""Are ads delivered?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: ads")


@app.cell
def _():
    import marimo as mo

    from notebooks import ads, figures, page, pictures, questions

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Ads", period="last 7 days")
    head
    return ads, bar, figures, lake, mo, page, pictures, questions, refresh, set_snapshot, snapshot


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
def _(ads, bar, mo, page):
    of = page.dropdown(mo, "ads", list(ads.OF), "", "campaign")
    cut_by = page.cut_by(mo, bar, "player")
    return cut_by, of


@app.cell
def _(ads, choice, lake, of):
    delivered = ads.delivered(lake, choice, by=ads.OF[of.value])
    return (delivered,)


@app.cell
def _(delivered, figures, mo):
    import html

    def sentence(worst):
        return mo.callout(
            mo.Html(
                f"<b>{html.escape(worst['combination'])}</b>: {figures.figure(worst['share'], 'ratio')} of "
                f"{worst['n']:,} ads ended neither completed nor skipped; of all others "
                f"{figures.figure(worst['rest_share'], 'ratio')}."
            ),
            kind="warn",
        )

    differing = delivered.most_aborted
    sentence(differing[0]) if differing else mo.md("No ads end early far more often than all others.")
    return (differing,)


@app.cell
def _(ads, choice, figures, lake, mo, questions):
    of_ads = {
        "ads_started": "ads started",
        "ad_completion_ratio_adobe": "completed",
        "ad_skip_ratio": "skipped",
        "ad_abort_ratio": "neither: failed or left",
    }
    of_breaks = {"ad_breaks": "ad breaks", "ad_break_left_ratio": "left before their end"}
    of_time = {
        "ad_time_s": "time in ads",
        "ad_rate_adobe": "of content time",
        "ads_per_media_start_adobe": "ads a start",
        "ad_time_per_ad_s_adobe": "mean time of an ad",
        "ads_outside_breaks": "ads outside of breaks",
        "ad_time_outside_breaks_s": "their time",
    }
    counted = dict.fromkeys(of_ads, "ads_started") | dict.fromkeys(of_breaks, "ad_breaks")
    tiles = figures.metric_tiles(lake, choice, of_ads | of_breaks | of_time, of=counted)
    breaks = ads.breaks(lake, choice)
    fill_meaning = questions.meaning("ad_break_fill_ratio")
    fill = figures.share(
        "breaks filled", choice, breaks.now, breaks.then, "filled", "breaks", meaning=fill_meaning
    )
    mo.vstack(
        [
            mo.md(f"## Ads of this period, and {choice.compared} (n: ads)"),
            figures.tiles(mo, [tiles[name] for name in of_ads]),
            mo.md("## Their breaks (n: breaks)"),
            figures.tiles(mo, [*(tiles[name] for name in of_breaks), fill]),
        ]
    )
    return breaks, of_time, tiles


@app.cell
def _(choice, delivered, mo, of, pictures, questions):
    drawn = [row for row in delivered.over_time if row["n"] >= choice.sample_min]
    left_out = sum(row["n"] for row in delivered.over_time) - sum(row["n"] for row in drawn)
    mo.vstack(
        [
            mo.hstack([mo.md("## Ads that completed, over time, by"), of], justify="start"),
            pictures.over_time(
                [
                    {
                        "at": questions.as_clock(choice.local(row["begins"])),
                        "value": row["completed"] * 100,
                        "series": row["series"],
                    }
                    for row in drawn
                ],
                title="% of ads started",
                note=choice.zone,
            ),
            mo.md(
                f"Each point is {choice.bucket_words} of ads, of the {questions.SERIES_MAX} largest values; "
                f"points of fewer than {choice.sample_min} ads are left out ({left_out:,} ads)."
            ),
        ]
    )
    return


@app.cell
def _(choice, delivered, differing, figures, mo):
    mo.vstack(
        [
            mo.md("## Which ads end without completion or skip, against all others"),
            figures.differing(mo, differing, combination="day / player / ad / campaign", share="not to their end"),
            mo.md("## Errors that players reported while an ad was open"),
            figures.table(
                mo,
                [
                    {
                        **row,
                        "first_at": choice.clock(row["first_at"]),
                        "last_at": choice.clock(row["last_at"]),
                    }
                    for row in delivered.errors
                ],
                empty="No player reported an error while an ad was open.",
                page_size=10,
            ),
        ]
    )
    return


@app.cell
def _(choice, delivered, figures, mo, of, questions):
    def share(row, part, whole="n"):
        ratio = row[part] / row[whole] if row[whole] else None
        return figures.sampled(ratio, "ratio", row[whole], choice.sample_min)

    table = [
        {
            of.value: row["value"],
            "started": row["n"],
            "sessions": row["sessions"],
            "completed": share(row, "completed"),
            "skipped": share(row, "skipped"),
            "aborted": share(row, "aborted"),
            "left in silence": share(row, "silent"),
            "error": share(row, "failed"),
            "median time": figures.sampled(row["median_s"], "s", row["over"], choice.sample_min),
            "hours": round(row["time_s"] / 3600, 2),
            "playing now": row["open"],
            "outside": row["outside"],
        }
        for row in delivered.by_value
    ]
    mo.vstack(
        [
            mo.md(f"## Ads, by {of.value}"),
            figures.table(
                mo,
                table,
                empty="No session of this period has an ad. Take a longer period, or fewer filters.",
                page_size=15,
                header_tooltip={
                    "completed": questions.meaning("ad_delivery"),
                    "error": questions.meaning("ad_error_ratio"),
                    "median time": questions.meaning("ad_time_s_median"),
                    "outside": questions.meaning("ads_outside_breaks"),
                },
            ),
        ]
    )
    return


@app.cell
def _(ads, choice, delivered, mo, of, pictures):
    steps = {**{step: step for step in ads.QUARTILES}, "4/4": "completed"}
    reached = [
        {of.value: f"{row['value']} ({row['known']:,})", "played to": step, "share": row[part] / row["known"]}
        for row in delivered.by_value[:15]
        if row["known"] >= max(choice.sample_min, 1)
        for step, part in steps.items()
    ]
    started = sum(row["n"] for row in delivered.by_value)
    known = sum(row["known"] for row in delivered.by_value)
    mo.vstack(
        [
            mo.md("## How far they played"),
            pictures.shares(reached, "played to", of.value, "share", title="share of ads", order=list(steps))
            if reached
            else mo.md(""),
            mo.md(
                f"n = {known:,} ads, in brackets those of each; of {started - known:,} more it is "
                "unknown: they play now, or have no length. **No event marks a quartile.** How far an ad "
                "played is the time that it played between its events: start, pings, and what ended it. One that "
                "ends in silence may have played a ping longer. One that completed counts as played to its "
                "end (4/4), whatever the clock says."
            ),
        ]
    )
    return


@app.cell
def _(ads, breaks, choice, figures, mo, questions):
    def place_of(minute):
        if minute is None:
            return "unknown"
        return f"minute {minute} to {minute + ads.BREAK_MINUTES - 1}" if minute else "before the content"

    mo.vstack(
        [
            mo.md("## Breaks, by their place in recorded content"),
            figures.table(
                mo,
                [
                    {
                        "place": place_of(row["minute"]),
                        "breaks": row["breaks"],
                        "filled": figures.sampled(
                            1 - row["empty"] / row["breaks"], "ratio", row["breaks"], choice.sample_min
                        ),
                        "ads a break": round(row["ads"] / row["breaks"], 2),
                        "completed": figures.sampled(
                            row["completed"] / row["breaks"], "ratio", row["breaks"], choice.sample_min
                        ),
                        "median length": figures.sampled(row["median_s"], "s", row["over"], choice.sample_min),
                    }
                    for row in breaks.places
                ],
                empty="No recorded content of this period has an ad break.",
                page_size=15,
                header_tooltip={
                    "filled": questions.meaning("ad_break_fill_ratio"),
                    "median length": questions.meaning("ad_break_time_s_median"),
                },
            ),
            mo.md(
                "Filled: an ad started in it. Requests for ads send no event, so a break that did not begin, for "
                "want of an ad, is unknown."
            ),
        ]
    )
    return


@app.cell
def _(choice, delivered, figures, mo, of_time, questions, tiles):
    median = figures.tile(
        "median time of an ad",
        delivered.all["median_s"],
        "s",
        meaning=questions.meaning("ad_time_s_median"),
        n=delivered.all["over"],
        sample_min=choice.sample_min,
    )
    mo.vstack(
        [
            mo.md("## Time in ads, and ads outside of breaks (n: sessions; of the median: ads)"),
            figures.tiles(mo, [median, *(tiles[name] for name in of_time)]),
            mo.md("Ads outside of breaks are in the tables of ads, and in none of the other tiles."),
        ]
    )
    return


@app.cell
def _(choice, cut_by, figures, lake, mo):
    names = [
        "ads_started",
        "ad_completion_ratio_adobe",
        "ad_skip_ratio",
        "ad_abort_ratio",
        "ad_break_left_ratio",
        "ad_rate_adobe",
        "ads_outside_breaks",
    ]
    figures.by_dimension(mo, lake, choice, names, cut_by)
    return


if __name__ == "__main__":
    app.run()
