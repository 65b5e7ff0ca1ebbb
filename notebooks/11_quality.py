"""Can I trust this?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: quality")


@app.cell
def _():
    import marimo as mo

    from notebooks import figures, filters, page, pictures, quality, questions

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Quality")
    head
    return bar, figures, filters, lake, mo, page, pictures, quality, questions, refresh, set_snapshot, snapshot


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
def _(choice, cut_by, filters, lake, quality):
    # What is doubtful of the sessions that started in the period; retried starts are among them.
    found = quality.found(lake, choice, by=filters.cut(cut_by.value))
    return (found,)


@app.cell
def _(choice, figures, found, lake, mo, quality):
    # The period's numbers are the sums of its buckets.
    now, then = quality.added(found.by_time), quality.checked(lake, choice.before())

    def share(label, meaning, part, whole="n", count=None):
        return figures.share(label, choice, now, then, part, whole, count, meaning=meaning)

    mo.vstack(
        [
            mo.md(f"## Doubtful sessions that started in this period, and {choice.compared}"),
            figures.tiles(
                mo,
                [
                    share(label, meaning, column)
                    for column, (label, meaning) in quality.CHECKS.items()
                    if column not in quality.LOST
                ],
            ),
        ]
    )
    return (share,)


@app.cell
def _(figures, mo, quality, share):
    # No event has a number, so a lost report shows only where others contradict it.
    mo.vstack(
        [
            mo.md("## Reports that were lost"),
            figures.tiles(
                mo,
                [
                    *[share(*quality.CHECKS[column], column) for column in quality.LOST],
                    share("of all time", "From first to last event of each session.", "gap_s", "length_s", "n"),
                    share(
                        "no end reported",
                        "Closed sessions that fell silent: the app was closed, or its end is lost.",
                        "unended",
                        "closed",
                    ),
                ],
            ),
            mo.md(
                "Events carry no number, so nobody can count those that never arrived. A lost report is found "
                "where the next ones contradict it: a silence, a playhead that jumped, an ad that is too long."
            ),
        ]
    )
    return


@app.cell
def _(choice, found, mo, pictures, quality, questions):
    lines = {
        column: quality.CHECKS[column][0] for column in ("is_slow", "has_wrong_clock", "has_gap", "is_reopened")
    }
    buckets = [{**row, **{column: row[column] / row["n"] for column in lines}} for row in found.by_time]
    mo.vstack(
        [
            mo.md("## Over time"),
            pictures.over_time(
                questions.points(sorted(buckets, key=lambda row: row["value"]), choice, lines, factor=100),
                title="% of sessions",
                note=choice.zone,
            ),
            mo.md(questions.points_in_words(buckets, choice)),
        ]
    )
    return


@app.cell
def _(found, mo, pictures):
    words = ["under 1 s", "1 to 10 s", "10 s to 1 min", "1 to 10 min", "10 min to 1 h", "over 1 h"]
    counted = {row["place"]: row["sessions"] for row in found.delays}
    late = [{"delay": word, "sessions": counted.get(place, 0)} for place, word in enumerate(words)]
    mo.vstack(
        [
            mo.md("## How late reports come"),
            pictures.bars(late, "sessions", "delay", title="sessions, by their slowest report"),
            mo.md(
                "How much longer a session's slowest event took to arrive than its fastest; "
                f"n = {sum(row['sessions'] for row in late):,} sessions, without downloaded ones; for "
                f"{counted.get(None, 0):,} more the delay is unknown."
            ),
        ]
    )
    return


@app.cell
def _(choice, figures, found, mo, pictures):
    def by_rule(flags, what):
        enough = [
            {
                "rule": row["flag"],
                "player": row["player"],
                "share": row["found"] / row["n"],
                what: row["found"],
                "of": row["n"],
            }
            for row in flags
            if row["n"] >= choice.sample_min
        ]
        rules = {}
        for row in flags:
            rule = rules.setdefault(
                row["flag"], {"rule": row["flag"], what: 0, "meaning": row["meaning"] or "unknown"}
            )
            rule[what] += row["found"]
        listed = sorted(rules.values(), key=lambda rule: -rule[what])
        if not listed:
            return mo.md(f"No {what[:-1]} of these sessions has a flag.")
        return mo.vstack(
            [
                pictures.shares(enough, "player", "rule", "share", title=f"share of {what}"),
                figures.table(mo, listed, page_size=10, wrapped_columns=["meaning"]),
            ]
        )

    mo.vstack(
        [
            mo.md("## Rules that decided, by player: share of its sessions"),
            by_rule(found.session_flags, "sessions"),
            mo.md("## Flags of events, by player: share of its events"),
            by_rule(found.event_flags, "events"),
            mo.md(f"Players with fewer than {choice.sample_min} sessions (or events) are in the tables only."),
        ]
    )
    return


@app.cell
def _(choice, cut_by, figures, found, mo, quality):
    parts = [
        {
            "value": row["value"],
            "sessions": row["n"],
            **{
                label: figures.sampled(row[name] / row["n"], "ratio", row["n"], choice.sample_min)
                for name, (label, _) in quality.CHECKS.items()
            },
        }
        for row in found.by_value
    ]
    mo.vstack(
        [
            mo.hstack([mo.md("## By"), cut_by], justify="start"),
            figures.table(mo, parts, page_size=15),
        ]
    )
    return


@app.cell
def _(choice, figures, lake, mo, quality):
    refused = quality.refused(lake, choice.since, choice.until)
    records = sum(row["records"] for row in refused)
    taken = quality.arrived(lake, choice.since, choice.until)
    mo.vstack(
        [
            mo.md("## Records that were refused"),
            figures.tiles(
                mo,
                [
                    figures.tile(
                        "refused",
                        records,
                        "count",
                        meaning="Bodies that the ingest refused and kept, and records that nobody could decode.",
                    ),
                    figures.tile(
                        "of all that arrived",
                        records / (records + taken) if records + taken else None,
                        "ratio",
                        n=records + taken,
                        sample_min=choice.sample_min,
                    ),
                ],
            ),
            figures.table(
                mo,
                [
                    {
                        **row,
                        "first_at": choice.clock(row["first_at"], seconds=True),
                        "newest_at": choice.clock(row["newest_at"], seconds=True),
                    }
                    for row in refused
                ],
                empty="Nothing was refused in this period.",
                page_size=15,
                wrapped_columns=["what was wrong"],
            ),
            mo.md(
                "Filters of sessions do not apply: a refused record has no session. The ingest keeps refused "
                "bodies up to a rate, so there may have been more. What a record holds may identify people and is "
                "not shown; `newest is at` names its partition and offset in the table `quarantine`."
            ),
        ]
    )
    return


@app.cell
def _(choice, figures, found, lake, mo, page, quality):
    missing = quality.missing(lake)
    cut = found.capped
    mo.vstack(
        [
            mo.md("## Gaps in the log, whatever the period"),
            figures.table(
                mo,
                [{**row, "at": choice.clock(row["at"]) if row["at"] else "unknown"} for row in missing],
                empty="Every record that the log had is in the tables once: nothing is lost, removed or halted.",
                page_size=10,
                wrapped_columns=["why"],
            ),
            mo.md("## Sessions that are not kept or counted whole"),
            figures.table(
                mo,
                [
                    {
                        **row,
                        "session": page.link(mo, "session", row["session"], session=row["session"]),
                        "cut short": ", ".join(row["cut short"]),
                    }
                    for row in cut
                ],
                empty="No session of this period reached a limit.",
                page_size=10,
                label=f"the {quality.CAPPED_MAX} with the most events" if len(cut) == quality.CAPPED_MAX else "",
            ),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
