"""Who comes back?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: viewers")


@app.cell
def _():
    import marimo as mo

    from notebooks import figures, filters, page, pictures, questions, viewers

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Viewers")
    head
    return bar, figures, filters, lake, mo, page, pictures, questions, refresh, set_snapshot, snapshot, viewers


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
    hours = {"an hour": 1, "a day": 24, "a week": 168}
    cut_by = page.cut_by(mo, bar, "site")
    unit = page.dropdown(mo, "cohorts", ["day", "week", "month"], "by", "day")
    within = page.dropdown(mo, "within", list(hours), "within", "a day")
    return cut_by, hours, unit, within


@app.cell
def _(choice, figures, filters, lake, mo, questions, viewers):
    people = viewers.seen(lake, choice)
    now, then = (
        {**each, "seen": each["new"] + each["returning"]}
        for each in (people.by_status, viewers.seen(lake, choice.before()).by_status)
    )
    first = filters.first_moment(lake)
    if first is None or first >= choice.since:  # nobody could have come before
        now |= {"returning": None, "lapsed": None}
    status = questions.meaning("viewer_status")
    counts = [
        figures.tile(
            label,
            value,
            "count",
            meaning=meaning,
            before=before if then["seen"] else None,
            compared=choice.compared,
        )
        for label, value, before, meaning in (
            ("known viewers", now["seen"], then["seen"], questions.meaning("known_viewers")),
            ("new", now["new"], then["new"], status),
            ("returning", now["returning"], then["returning"], status),
            ("lapsed", now["lapsed"], then["lapsed"], status),
        )
    ]
    returning = figures.share("of them returning", choice, now, then, "returning", "seen", meaning=status)
    since = choice.clock(choice.since - (choice.until - choice.since))
    mo.vstack(
        [
            mo.md(f"## Viewers of this period, and {choice.compared}"),
            figures.tiles(mo, [*counts, returning]),
            mo.md(
                f"Lapsed: seen in the preceding period of the same length, from {since} on, but not in this one. "
                "With filters, only matching sessions count: new means new on this site, or to this content."
            ),
            mo.callout(
                mo.md(
                    f"The lake begins at {choice.clock(first)}. The lake knows nothing of earlier viewers; they "
                    "count as new."
                ),
                kind="warn",
            )
            if first and first > choice.since - choice.back
            else mo.md(""),
        ]
    )
    return (people,)


@app.cell
def _(choice, cut_by, figures, filters, lake, mo, pictures, viewers):
    names = {"identified_ratio": "sessions of known viewers", "consent_denied_ratio": "consent denied"}
    by_value = viewers.mix(lake, choice, filters.column(cut_by.value))
    shown = list(dict.fromkeys(row["value"] for row in by_value))[:20]
    mo.vstack(
        [
            mo.md("## Who is known, and by what"),
            figures.compared(mo, lake, choice, names),
            mo.hstack([mo.md("### By"), cut_by], justify="start"),
            pictures.parts(
                [
                    {
                        "value": f"{row['value']} ({row['n']:,})",
                        **{name: row[name] for name in ("series", "share", "sessions", "place")},
                    }
                    for row in by_value
                    if row["value"] in shown and row["n"] >= choice.sample_min
                ],
                "value",
                title="share of sessions",
                grey=viewers.NOT_KNOWN,
            ),
            mo.md(
                f"The largest 20 values, in brackets their sessions; values of fewer than {choice.sample_min} "
                "sessions are left out. *Not known* sent neither an identity nor a denial; robots are among them."
            ),
        ]
    )
    return


@app.cell
def _(mo):
    mo.accordion(
        {
            "What can be said of those who are not known, and what cannot": mo.md(
                """
A viewer is a pseudonym of the user id that a player sent, or that its tracking session named.

* **Sessions, hours, startup, failures, retention of a content**: of everybody. They need no viewer.
* **New, returning, lapsed, cohorts, sequences**: of known viewers only. They are never scaled up to the others:
  people who log in differ from those who do not.
* **How many people watch**: unknown. Somebody with two ids is two viewers, a family with one id is one, and a
  session without an id may be anybody's. How many sessions run at once (page *audience*) is known of all.
* **A denial is final within a session**: one event that denies consent takes user and device from all of it. The
  viewer's other sessions are not touched, so one person may be in both groups.
* **New** means new to this lake: what retention removed, or what came before the lake, is not known to it.
"""
            )
        }
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions, viewers):
    over_time = viewers.over_time(lake, choice)
    words = {"new_viewers": "new", "returning_viewers": "returning"}
    per = viewers.unit_of(choice)
    mo.vstack(
        [
            mo.md("## New and returning, over time"),
            pictures.columns(
                [
                    {
                        "at": questions.as_clock(row["begins"]),
                        "to": questions.as_clock(row["ends"]),
                        "value": row[name],
                        "series": series,
                    }
                    for name, series in words.items()
                    for row in over_time
                ],
                title=f"viewers of the {per}",
                note=choice.zone,
            ),
            mo.md(
                f"Each {per} that is whole within the period. Somebody who comes in several is counted in each, "
                "so they do not add up to the viewers of the period."
            ),
        ]
    )
    return


@app.cell
def _(mo, people, pictures):
    mo.vstack(
        [
            mo.md("## How often they came in the period"),
            pictures.bars(people.habits, "viewers", "sessions", title="viewers, by their sessions"),
            mo.md(f"n = {sum(row['viewers'] for row in people.habits):,} known viewers."),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, unit, viewers):
    cohorts = viewers.cohorts(lake, choice, unit.value)
    day = "%b %Y" if unit.value == "month" else "%a %d %b"
    enough = [row for row in cohorts if row["cohort_viewers"] >= choice.sample_min]
    mo.vstack(
        [
            mo.hstack([mo.md("## Cohorts: who came back"), unit], justify="start"),
            pictures.shares(
                [
                    {
                        "cohort": f"{row['cohort']:{day}} ({row['cohort_viewers']:,})",
                        "later": row["number"],
                        "share": row["retained_ratio"],
                        "viewers": row["viewers"],
                    }
                    for row in enough
                ],
                "later",
                "cohort",
                "share",
                title="share that came back",
            )
            if enough
            else mo.md(
                f"No {unit.value} after a viewer's first is over, or no cohort has {choice.sample_min} viewers."
            ),
            mo.md(
                f"Down: the {unit.value} in which viewers were first seen, and how many they are; across: the "
                f"share of them that came in the 1st, 2nd, ... {unit.value} after it. The last "
                f"{viewers.COHORTS_MAX} cohorts before the end of the period, whatever its length, in "
                f"{choice.zone}; a {unit.value} that is not over is left out, and so is a cohort of fewer than "
                f"{choice.sample_min} viewers."
            ),
        ]
    )
    return


@app.cell
def _(choice, figures, hours, lake, mo, questions, viewers, within):
    pairs = viewers.sequences(lake, choice, hours[within.value])
    enough_of = [row for row in pairs if row["plays"] >= choice.sample_min]
    mo.vstack(
        [
            mo.hstack([mo.md("## What they played next"), within], justify="start"),
            figures.table(
                mo,
                [
                    {
                        "content": row["content"],
                        "next": row["next"],
                        "followed": row["sessions"],
                        "of plays": row["plays"],
                        "share": figures.figure(row["next_ratio"], "ratio"),
                        "viewers": row["viewers"],
                        "median gap": figures.figure(row["gap_median_s"], "s"),
                    }
                    for row in enough_of
                ],
                empty="Nobody who is known played anything else within this time. Take a longer period.",
                page_size=10,
                header_tooltip={"next": questions.meaning("watched_next")},
            ),
            mo.md(
                f"Plays of known viewers that began in the period; contents of fewer than {choice.sample_min} "
                "such plays are left out. The next play may be of the same content."
            ),
        ]
    )
    return


@app.cell
def _(choice, figures, mo, page, people, viewers):
    mo.vstack(
        [
            mo.md("## The viewers with the most sessions"),
            figures.table(
                mo,
                [
                    {
                        "viewer": page.link(mo, "session", row["viewer"], find=row["viewer"]),
                        "status": row["status"],
                        "sessions": row["sessions"],
                        "before": row["sessions_before"],
                        "played": figures.figure(row["content_time_s"], "s"),
                        "first seen": choice.clock(row["first_seen"]),
                        "last seen": choice.clock(row["last_seen"]),
                    }
                    for row in people.listed
                ],
                empty=(
                    "No viewer of this period is known. Sessions have one if the player sends a user id, or names "
                    "a tracking session that has one, and consent is not denied."
                ),
                page_size=10,
                label=f"the first {viewers.LISTED_MAX}" if len(people.listed) == viewers.LISTED_MAX else "",
            ),
            mo.md("A viewer here is a pseudonym, and leads to its sessions."),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
