"""Is the new version worse?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: releases")


@app.cell
def _():
    import html
    from collections import Counter

    import marimo as mo

    from notebooks import figures, page, pictures, questions, releases

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Releases", period="last 7 days")
    head
    return (
        Counter,
        bar,
        figures,
        html,
        lake,
        mo,
        page,
        pictures,
        questions,
        refresh,
        releases,
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
def _(mo, page, questions):
    # Metrics of the catalogue: their words here, and whether more of it is worse.
    judged = {
        "start_failure_ratio_conviva": ("failed to start", True),
        "playback_failure_ratio_conviva": ("failed while playing", True),
        "exit_before_start_ratio_conviva": ("left before start", True),
        "startup_s_median_newrelic": ("median startup", True),
        "startup_s_p95_newrelic": ("startup p95", True),
        "rebuffer_ratio_cta2066": ("rebuffering", True),
        "content_time_s_median": ("median time played", False),
        "completion_ratio_adobe_content": ("completed", False),
    }
    catalogue = questions.definitions()
    at_once, always = "since the newer one appeared", "in the whole period"
    span = page.dropdown(mo, "span", [at_once, always], "sessions of both versions", at_once)
    return at_once, catalogue, judged, span


@app.cell
def _(at_once, choice, judged, lake, mo, releases, span):
    every = releases.versions(lake, choice, is_at_once=span.value == at_once)
    mo.stop(
        not every,
        mo.md(
            "No session of this period has an app version: players send it as `media.sdkVersion` of the "
            "sessionStart. Take a longer period or fewer filters, or ask those who build the player."
        ),
    )
    changed = releases.changes(lake, choice, every, list(judged))
    return changed, every


@app.cell
def _(changed, judged, releases):
    found = releases.verdicts(changed, {name: more for name, (_, more) in judged.items()})
    worse = [version for version in found if version["worse"]]
    return found, worse


@app.cell
def _(at_once, catalogue, changed, figures, found, html, judged, mo, span, worse):
    def sentence(row):
        unit = catalogue[row["metric"]].unit
        newer, older, change = row["newer"], row["older"], row["change"]
        low, high = (figures.difference(change[edge], unit).split()[0] for edge in ("low", "high"))
        return (
            f"<li><b title='{html.escape(catalogue[row['metric']].meaning)}'>{judged[row['metric']][0]}</b>: "
            f"{figures.figure(newer['value'], unit)} instead of "
            f"{figures.figure(older['value'], unit)}: {figures.difference(change['difference'], unit)} "
            f"({low} to {high}; n = {newer['n']:,} and {older['n']:,})</li>"
        )

    def told(version, kind):
        title = html.escape(f"{version['app']} {version['newest']} is {kind} than {version['before']}")
        return f"<b>{title}</b><ul>{''.join(sentence(row) for row in version[kind])}</ul>"

    better = [version for version in found if version["better"]]
    compared = f"{len(found)} versions were compared with the one before, by {len(judged)} metrics."
    mo.vstack(
        [
            *(mo.callout(mo.Html(told(version, "worse")), kind="danger") for version in worse[:5]),
            *([] if worse else [mo.callout(mo.md("No version is worse than the one before it."), kind="success")]),
            mo.md(
                (compared if changed else "No app has two versions with enough sessions: nothing to compare.")
                + " In brackets: the interval of the difference, three standard errors to each side (99.7 %). "
                "A difference is listed if its interval does not reach 0. Shares of sessions have Wilson's "
                "interval, percentiles that of their ranks, and rebuffering, from 100 sessions on, the normal "
                "approximation."
            ),
            span,
            mo.md(
                "Both versions count from the first session of the newer one, so both saw the same evenings and "
                "outages. Those who update first are not like the others: look again a few days later."
                if span.value == at_once
                else "An outage or a match while one of them was rare looks like a difference."
            ),
            mo.accordion({"Better": mo.Html("".join(told(version, "better") for version in better))})
            if better
            else mo.md(""),
        ]
    )
    return


@app.cell
def _(choice, every, figures, found, judged, lake, mo, questions):
    def words(rows):
        return ", ".join(judged[row["metric"]][0] for row in rows)

    by_version = {(version["app"], version["newest"]): version for version in found}
    versioned = sum(row["n"] for row in every)
    (whole,) = questions.metrics(lake, choice, ["sessions"])
    few = [row for row in every if row["n"] < choice.sample_min]
    table = [
        {
            "app": row["app"],
            "version": row["version"],
            "first seen": choice.clock(row["since_at"]) if row["since_at"] else "earlier",
            "sessions": row["n"],
            "share": figures.figure(row["share"], "ratio"),
            "compared with": row["older"] or "nothing",
            "worse": words(by_version.get((row["app"], row["version"]), {"worse": []})["worse"]),
            "better": words(by_version.get((row["app"], row["version"]), {"better": []})["better"]),
        }
        for row in reversed(every)
    ]
    mo.vstack(
        [
            mo.md("## Versions, since when"),
            figures.table(mo, table, page_size=15, wrapped_columns=["worse"]),
            mo.md(
                f"n = {versioned:,} sessions; {whole['n'] - versioned:,} more have no version. {len(few)} "
                f"versions have fewer than {choice.sample_min} sessions and are not compared. First seen: the "
                "first session of the last 30 days, whatever the filters; earlier: it was there on the first of "
                "them. A version is compared with the next lower one that has enough sessions."
            ),
        ]
    )
    return


@app.cell
def _(Counter, every, judged, mo, page, worse):
    # The surest finding is what a reader sees first.
    words_of = {words: name for name, (words, _) in judged.items()}
    surest = judged[worse[0]["worse"][0]["metric"]][0] if worse else next(iter(words_of))
    metric = page.dropdown(mo, "metric", list(words_of), "metric", surest)
    sessions = Counter()
    for row in every:
        sessions[row["app"]] += row["n"]
    apps = [app for app, _ in sessions.most_common()]
    watched = page.dropdown(mo, "app", apps, "app", worse[0]["app"] if worse else apps[0])
    return metric, watched, words_of


@app.cell
def _(catalogue, changed, figures, metric, mo, pictures, words_of):
    name = words_of[metric.value]
    unit = catalogue[name].unit
    factor, unit_words = figures.drawn(unit)

    def scaled(measure):
        return {
            edge: None if measure[edge] is None else measure[edge] * factor for edge in ("value", "low", "high")
        } | {"shown": f"{figures.figure(measure['value'], unit)}, n = {measure['n']:,}"}

    pairs = [
        {"label": f"{row['app']} {row['newest']} / {row['before']}", "series": side, **scaled(row[measure])}
        for row in changed
        if row["metric"] == name
        for side, measure in (("the version", "newer"), ("before", "older"))
        if row[measure] is not None and row[measure]["value"] is not None
    ]
    mo.vstack(
        [
            mo.hstack([mo.md("## Each version beside the one before"), metric], justify="start", wrap=True),
            mo.md(f"`{name}`: {catalogue[name].meaning}"),
            pictures.intervals(pairs, title=f"{metric.value}, {unit_words}")
            if pairs
            else mo.md("Nothing to compare."),
        ]
    )
    return (name,)


@app.cell
def _(catalogue, choice, every, figures, lake, metric, mo, name, pictures, questions, releases, watched):
    of_app = [row for row in every if row["app"] == watched.value]
    stretches, length = releases.over_time(lake, choice, of_app, name)
    drawn = list(dict.fromkeys(row["version"] for row in stretches))
    times, in_words = figures.drawn(catalogue[name].unit)

    def points(column, factor, sample_min):
        return [
            {
                "at": questions.as_clock(choice.local(row["at"])),
                "value": row[column] * factor,
                "series": row["version"],
                "n": row["n"],
            }
            for row in stretches
            if row["n"] >= sample_min and row[column] is not None
        ]

    mo.vstack(
        [
            mo.hstack([mo.md("## Over time"), watched], justify="start", wrap=True),
            pictures.over_time(
                points("value", times, choice.sample_min), title=f"{metric.value}, {in_words}", note=choice.zone
            ),
            mo.md(
                f"Each point is a complete span of {length.total_seconds() / 3600:g} hours; those of fewer than "
                f"{choice.sample_min} sessions are left out."
            ),
            mo.md("## How it spread"),
            pictures.stacked(
                points("share", 100, 0), title="% of the app's sessions", note=choice.zone, names=drawn
            ),
        ]
    )
    return


@app.cell
def _(choice, every, figures, found, lake, mo, releases, watched):
    # The pair of the app that differs most; without one, its newest version.
    of_it = [version for version in found if version["app"] == watched.value]
    mo.stop(not of_it)
    shown = of_it[0]["newest"]
    pair = next(row for row in every if (row["app"], row["version"]) == (watched.value, shown))
    newer_n, older_n, ranked = releases.errors(lake, choice, pair)
    errors = [
        {
            "error": row["error"],
            "source": row["source"],
            pair["version"]: f"{figures.figure(row['newer'] / newer_n, 'ratio')} ({row['newer']:,})",
            f"{pair['older']} (before)": f"{figures.figure(row['older'] / older_n, 'ratio')} ({row['older']:,})",
            "before start": row["before_start"],
            "first": choice.clock(row["first_at"]),
        }
        for row in ranked
    ]
    mo.vstack(
        [
            mo.md("## Errors, those that became more frequent first"),
            figures.table(mo, errors, empty="No player reported an error in this time.", page_size=10),
            mo.md(
                f"Share of sessions with the error, of n = {newer_n:,} of the version and {older_n:,} of the one "
                f"before, since {choice.clock(pair['from_at'])}."
            ),
        ]
    )
    return


@app.cell
def _(catalogue, changed, every, figures, judged, mo, watched):
    def bounds(measure, unit, shown=figures.figure):
        return figures.interval(measure["low"], measure["high"], unit, shown)

    def numbers_of(row):
        metric = catalogue[row["metric"]]
        newer, older, change = row["newer"], row["older"], row["change"]
        return {
            "version": row["newest"],
            "metric": figures.defined(mo, judged[metric.name][0], metric),
            "value": figures.figure(newer["value"], metric.unit),
            "interval": bounds(newer, metric.unit),
            "n": newer["n"],
            "before": row["before"],
            "its value": figures.figure(older["value"], metric.unit),
            "its interval": bounds(older, metric.unit),
            "its n": older["n"],
            "difference": figures.difference(change["difference"], metric.unit) if change else "too few",
            "of the difference": bounds(change, metric.unit, figures.difference) if change else "too few",
        }

    by_pair = {(row["newest"], row["metric"]): row for row in changed if row["app"] == watched.value}
    numbers = [
        numbers_of(by_pair[row["version"], name])
        for row in reversed(every)
        if row["app"] == watched.value
        for name in judged
        if (row["version"], name) in by_pair
    ]
    mo.vstack(
        [
            mo.md("## Every number"),
            figures.table(mo, numbers, page_size=16),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
