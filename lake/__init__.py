"""The lake: DuckDB tables in DuckLake (Parquet files, a catalogue in SQL) that people query while they fill."""
