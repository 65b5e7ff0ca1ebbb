"""Where do they leave?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: content")


@app.cell
def _():
    import html

    import marimo as mo

    from notebooks import contents, curves, figures, page, pictures, questions

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Content", period="last 7 days")
    head
    return (
        bar,
        contents,
        curves,
        figures,
        html,
        lake,
        mo,
        page,
        pictures,
        questions,
        refresh,
        set_snapshot,
        snapshot,
    )


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
def _(choice, contents, lake, mo, questions):
    # Metrics of the catalogue, in the words of the table below.
    words = {
        "content_time_s_median": "median played",
        "watched_ratio": "watched",
        "completion_ratio_adobe_content": "completed",
    }
    catalogue = questions.definitions()
    every = contents.contents(lake, choice, list(words))
    mo.stop(
        not every,
        mo.md("No content was played in this period. Take a longer period or fewer filters."),
    )
    return catalogue, every, words


@app.cell
def _(every, mo, page):
    # First the one with the most plays that has an end; two contents may have one name, so the id is shown too.
    usual = next((each for each in every if each.length_s), every[0])
    picked = page.dropdown(
        mo,
        "watched",
        {f"{each.name} ({each.content_id}): {each.plays:,} plays": each.content_id for each in every},
        "content",
        usual.content_id,
        searchable=True,
        full_width=True,
    )
    return (picked,)


@app.cell
def _(choice, contents, curves, every, figures, html, lake, mo, picked):
    content = next(each for each in every if each.content_id == picked.value)
    left = contents.leaving(lake, choice, content)
    enough = content.closed >= choice.sample_min
    worst = contents.most(left, "sessions")
    if content.length_s is None:
        sentence = "It is live, or its length is unknown, so there is no end to leave before."
    elif not enough:
        sentence = f"Too few: {content.closed:,} closed plays. Take a longer period or fewer filters."
    elif worst is None:
        sentence = "Nobody left before the end."
    else:
        sentence = (
            f"Most leave between {curves.clock(worst['from_s'])} and {curves.clock(worst['to_s'])}: "
            f"{worst['sessions']:,} of {content.closed:,} closed plays, "
            f"{figures.figure(worst['left_ratio'], 'ratio')} "
            f"({figures.interval(worst['low'], worst['high'], 'ratio')})."
        )
    mo.vstack(
        [
            picked,
            mo.callout(mo.Html(f"<b>{html.escape(content.name)}</b><br>{html.escape(sentence)}"), kind="info"),
        ]
    )
    return content, enough, left


@app.cell
def _(choice, content, figures, lake, mo):
    import msgspec

    of_it = msgspec.structs.replace(choice, among={**choice.among, "content": [content.content_id]})
    names = {
        "content_starts_adobe": "plays",
        "content_time_s_median": "median played",
        "watched_ratio": "watched, each second once",
        "completion_ratio_adobe_content": "completed, as players say",
        "completion_ratio_snowplow": "99 % watched",
    }
    mo.vstack(
        [
            mo.md(f"## Sessions that started in this period, and {choice.compared}"),
            figures.compared(mo, lake, of_it, names),
        ]
    )
    return


@app.cell
def _(choice, content, contents, curves, figures, lake, mo):
    mo.stop(
        content.plays < choice.sample_min,
        mo.md(f"## Retention\nToo few plays to draw: {content.plays:,}. Take a longer period or fewer filters."),
    )
    kept = contents.retention(lake, choice, content)
    similar = contents.relative(lake, choice, content) if content.length_s else []

    def line(rows, column, series, **more):
        return [
            {
                "from_s": row["from_s"],
                "value": row[column] * 100,
                "series": series,
                "shown": f"{figures.figure(row[column], 'ratio')} of n = {content.plays:,}",
                **{edge: row[of] * 100 for edge, of in more.items()},
            }
            for row in rows
        ]

    mo.vstack(
        [
            mo.md("## Retention: how much of it is played"),
            curves.lines(
                [
                    *line(kept, "unique_retention_ratio", "each session once", low="low", high="high"),
                    *line(kept, "absolute_retention_ratio", "every pass"),
                    *line(similar, "similar_retention_ratio", "contents of similar length, every pass"),
                ],
                title="% of plays",
                ends=content.ends,
            ),
            mo.md(
                f"`unique_retention_ratio` and `absolute_retention_ratio` of {content.bucket_s} s each, of n = "
                f"{content.plays:,} plays, open ones too. The band is Wilson's interval, three standard errors to "
                "each side. Where both lines part, viewers played it again."
                + ("" if content.length_s else " The position is the second of the day; so days overlap.")
            ),
        ]
    )
    return kept, similar


@app.cell
def _(content, curves, figures, mo, similar):
    mo.stop(
        not similar,
        mo.md(
            "## Beside contents of similar length\n"
            "No content of similar length was played in this period, or this one has no length."
        ),
    )
    mo.vstack(
        [
            mo.md("## Beside contents of similar length"),
            curves.lines(
                [
                    {
                        "from_s": row["from_s"],
                        "value": row["relative_retention_ratio"],
                        "series": "times as much as the others keep",
                        "shown": f"{row['relative_retention_ratio']:.2f} times; keeps more than "
                        f"{figures.figure(row['rank_ratio'], 'ratio')} of them",
                    }
                    for row in similar
                    if row["relative_retention_ratio"] is not None
                ],
                title="relative retention",
                ends=content.ends,
                height=160,
                rule=1,
            ),
            mo.md(
                f"`relative_retention_ratio`, against {similar[0]['similar_contents']:,} contents whose length is "
                "within a quarter; above 1 it keeps more than they do. Each of them counts once, however few its "
                "plays."
            ),
        ]
    )
    return


@app.cell
def _(content, contents, curves, kept, mo):
    top = contents.most(kept, "heat_ratio")
    mo.vstack(
        [
            mo.md("## Most replayed"),
            curves.bars(
                [
                    {
                        "from_s": row["from_s"],
                        "to_s": row["to_s"],
                        "value": row["heat_ratio"] * 100,
                        "shown": f"played {row['plays']:,.1f} times",
                    }
                    for row in kept
                    if row["heat_ratio"] is not None
                ],
                title="% of the most played",
                ends=content.ends,
                height=120,
            ),
            mo.md(
                f"`heat_ratio`: how often each {content.bucket_s} s were played, all passes, beside those played "
                f"most ({curves.clock(top['from_s'])}, {top['plays']:,.0f} times)."
            ),
        ]
    )
    return


@app.cell
def _(content, curves, enough, figures, left, mo):
    mo.stop(not content.length_s or not enough)
    tops = sorted(left, key=lambda row: -row["sessions"])[:5]
    mo.vstack(
        [
            mo.md("## Leaving points"),
            curves.bars(
                [
                    {
                        **row,
                        "value": row["sessions"],
                        "shown": f"{row['sessions']:,} sessions, {figures.figure(row['left_ratio'], 'ratio')}",
                    }
                    for row in left
                ],
                title="sessions that left",
                ends=content.ends,
            ),
            figures.table(
                mo,
                [
                    {
                        "from": curves.clock(row["from_s"]),
                        "to": curves.clock(row["to_s"]),
                        "left": row["sessions"],
                        "of all plays": figures.figure(row["left_ratio"], "ratio"),
                        "interval": figures.interval(row["low"], row["high"], "ratio"),
                    }
                    for row in tops
                ],
                pagination=False,
            ),
            mo.md(
                "The last position of plays that did not complete: "
                f"{sum(row['sessions'] for row in left):,} of n = {content.closed:,} closed plays. "
                f"{content.completed:,} completed, {content.unknown:,} left at an unknown position; "
                f"{content.plays - content.closed:,} are still open and left out."
            ),
        ]
    )
    return


@app.cell
def _(choice, content, contents, curves, figures, lake, mo):
    jumps, by_bucket = contents.seeks(lake, choice, content)
    mo.vstack(
        [
            mo.md("## Seeks"),
            figures.tiles(
                mo,
                [
                    figures.tile(
                        "seeks",
                        jumps["seeks"],
                        "count",
                        meaning="Rows of seeks_between, of sessions that started in the period.",
                    ),
                    figures.tile(
                        "plays with a seek",
                        jumps["sessions"] / content.plays if content.plays else None,
                        "ratio",
                        meaning="Sessions with a row in seeks_between, of those whose main content played.",
                        n=content.plays,
                        sample_min=choice.sample_min,
                    ),
                    *(
                        figures.tile(
                            f"median {way}",
                            jumps[f"{way}_s"],
                            "s",
                            meaning="Median of seek_distance_s: least distance that seeks moved the playhead.",
                            n=count,
                            sample_min=choice.sample_min,
                        )
                        for way, count in (
                            ("forward", jumps["forward"]),
                            ("backward", jumps["seeks"] - jumps["forward"]),
                        )
                    ),
                ],
            ),
        ]
    )
    return by_bucket, jumps


@app.cell
def _(by_bucket, choice, content, contents, curves, jumps, mo):
    def jumped(column, series):
        return [
            {
                "from_s": row["from_s"],
                "to_s": row["from_s"] + content.bucket_s,
                "value": row[column],
                "series": series,
                "shown": f"{row[column]:,} seeks",
            }
            for row in contents.gapless(by_bucket, content)
        ]

    (
        curves.lines(
            [*jumped("to_here", "jumped to here"), *jumped("away", "jumped away")],
            title="seeks",
            ends=content.ends,
            height=180,
        )
        if jumps["seeks"] >= choice.sample_min
        else mo.md("Too few seeks to draw." if jumps["seeks"] else "Nobody jumped.")
    )
    return


@app.cell
def _(catalogue, choice, curves, every, figures, mo, pictures, words):
    def measured(measure):
        unit = catalogue[measure["metric"]].unit
        return figures.sampled(measure["value"], unit, measure["n"], choice.sample_min)

    def interval(measure):
        if measure["n"] < choice.sample_min:
            return "too few"
        return figures.interval(measure["low"], measure["high"], "ratio")

    table = [
        {
            "content": each.name,
            "plays": each.plays,
            "length": curves.clock(each.length_s) if each.length_s else "live or unknown",
            **{words[name]: measured(measure) for name, measure in each.measures.items()},
            "interval of completed": interval(each.measures["completion_ratio_adobe_content"]),
            "id": each.content_id,
        }
        for each in every
    ]
    mo.vstack(
        [
            mo.md("## All contents, those with the most plays first"),
            pictures.bars(
                [{"content": each.name, "plays": each.plays, "id": each.content_id} for each in every[:15]],
                "plays",
                "content",
                title="plays",
            ),
            figures.table(mo, table, page_size=15),
            mo.md(
                f"{len(every):,} contents that were played, at most 300; "
                + " ".join(f"{words[name]}: `{name}`, {catalogue[name].meaning}" for name in words)
            ),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
