"""What do I want to know?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: ask")


@app.cell
def _():
    import re
    from importlib import resources

    import duckdb
    import marimo as mo

    from lake.reading import QueryRefused
    from notebooks import asking, figures, filters, page, pictures
    from notebooks.connect import read

    lake = page.lake_of(mo, "Ask")
    return QueryRefused, asking, duckdb, figures, filters, lake, mo, page, pictures, re, read, resources


@app.cell
def _(asking, filters, lake, mo, re, resources):
    # lake/QUESTIONS.md: each question with the SQL that answers it.
    examples = {
        title.strip(): sql.strip()
        for title, sql in re.findall(
            r"^### (.+?)\n.*?```sql\n(.*?)```", (resources.files("lake") / "QUESTIONS.md").read_text(), re.M | re.S
        )
    }
    bar = filters.bar(mo, lake)
    example, unknown = asking.example(mo, examples)
    mo.vstack(
        [
            mo.md(
                "# Ask\nThe lake answers any SQL that only reads. Take an example, or write your own; every "
                "table, view and macro is listed below. The bar is for SQL that names it: `chosen_sessions` has "
                "the sessions that it leaves, and `$since`, `$until` and `$filters` are for macros: `FROM "
                "metrics_by(['player_name'], since := $since, until := $until, filters := $filters)`."
            ),
            filters.shown(mo, bar),
            filters.sentence(mo, unknown),
            example,
        ]
    )
    return bar, example, examples


@app.cell
def _(bar, lake, mo, page):
    choice = page.chosen(mo, lake, bar)
    page.filters_in_words(mo, choice)
    return (choice,)


@app.cell
def _(asking, example, examples, mo):
    editor = mo.ui.code_editor(
        value=asking.written(mo) or examples[example.value], language="sql", min_height=140, debounce=True
    )
    run = mo.ui.run_button(label="Ask")
    mo.vstack([editor, run])
    return editor, run


@app.cell
def _(QueryRefused, asking, choice, duckdb, editor, example, examples, lake, mo, run):
    # Examples are answered at once, your own SQL when you press the button; so is one that an address brought.
    mo.stop(not run.value and editor.value.strip() != examples[example.value], mo.md("Press **Ask**."))
    too_long = asking.keep(mo, editor.value, usual=examples[example.value])
    try:
        answer = asking.answer(lake, editor.value, choice)
    except (QueryRefused, duckdb.Error) as fault:
        mo.stop(True, mo.callout(mo.plain_text(str(fault)), kind="warn"))
    return answer, too_long


@app.cell
def _(answer, asking, choice, figures, filters, mo, too_long):
    import io

    import pyarrow.csv

    shown_rows = asking.rows(answer.slice(0, 10_000), choice)
    # One wide row reads better downwards.
    is_wide = len(shown_rows) == 1 and answer.num_columns > 8
    listed_rows = (
        [{"column": name, "value": value} for name, value in shown_rows[0].items()] if is_wide else shown_rows
    )

    def as_csv():
        flat = answer.drop_columns([field.name for field in answer.schema if "<" in str(field.type)])
        file = io.BytesIO()
        pyarrow.csv.write_csv(flat, file)
        return file.getvalue()

    mo.vstack(
        [
            figures.table(mo, listed_rows, empty="No rows.", page_size=20, show_download=False),
            mo.hstack(
                [
                    mo.md(
                        f"{answer.num_rows:,} rows"
                        + (", 10,000 shown" if answer.num_rows > 10_000 else "")
                        + f"; times with a zone are those of {choice.zone}."
                    ),
                    mo.download(as_csv, filename="answer.csv", label="CSV (without nested columns)"),
                ],
                justify="start",
            ),
            filters.sentence(mo, too_long),
        ]
    )
    return (shown_rows,)


@app.cell
def _(answer, mo):
    names = answer.column_names
    numeric = [
        field.name
        for field in answer.schema
        if str(field.type).startswith(("int", "uint", "double", "float", "decimal"))
    ]
    mo.stop(not numeric or len(names) < 2)
    first = next((name for name in names if name not in numeric), names[0])
    along = mo.ui.dropdown(names, value=first, label="along")
    value = mo.ui.dropdown(
        numeric, value=next((name for name in numeric if name != first), numeric[0]), label="value"
    )
    mo.hstack([mo.md("## As a picture"), along, value], justify="start", align="center")
    return along, value


@app.cell
def _(along, pictures, shown_rows, value):
    pictures.answer(shown_rows, along.value, value.value)
    return


@app.cell
def _(lake, mo, read):
    listed = read(
        lake,
        """
        SELECT table_name AS name, comment FROM duckdb_tables()
        WHERE database_name = 'lake' AND schema_name = 'main' AND NOT regexp_full_match(table_name, '.*_p[0-9]{3}')
        UNION ALL
        SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'lake' AND schema_name = 'main'
        ORDER BY name
        """,
    ).to_pylist()
    table = mo.ui.dropdown(
        [row["name"] for row in listed], value="sessions", label="table or view", searchable=True
    )
    has_values = mo.ui.checkbox(label="with values, of some rows")
    return has_values, listed, table


@app.cell
def _(asking, figures, has_values, lake, listed, mo, read, table):
    import html

    of_table = read(lake, "FROM columns_of($name)", name=table.value).to_pylist()
    if has_values.value:
        of_columns = asking.examples_of(lake, table.value)
        of_table = [{**row, "values": of_columns.get(row["column_name"], "")} for row in of_table]
    about = next((row["comment"] for row in listed if row["name"] == table.value), None)
    macros = read(
        lake,
        """
        SELECT DISTINCT function_name || '(' || array_to_string(parameters, ', ') || ')' AS macro
        FROM duckdb_functions() WHERE database_name = 'lake' AND function_type = 'table_macro' ORDER BY ALL
        """,
    ).to_pylist()
    metrics_of = read(lake, "SELECT name, definition, unit, source FROM metric_catalog ORDER BY name").to_pylist()
    mo.vstack(
        [
            mo.hstack([mo.md("## What there is"), table, has_values], justify="start", align="center"),
            mo.Html(f"<p>{html.escape(about or '')}</p>"),
            figures.table(mo, of_table, page_size=15, wrapped_columns=["meaning"]),
            mo.accordion(
                {
                    "Macros: `FROM name(arguments)`": mo.plain_text("\n".join(row["macro"] for row in macros)),
                    "Metrics: columns of `metrics_by(...)` and its kind": figures.table(
                        mo, metrics_of, page_size=20, wrapped_columns=["definition"]
                    ),
                }
            ),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
