"""Break everything at random under load, then count: was any acknowledged event lost, doubled or invented?

    make soak EVENTS=100000 KILLS=30 SEED=1
    make soak EVENTS=100000 KILLS=30 KAFKA=1

Clients note each request in a journal before it goes out (fsynced), and each reply. Meanwhile `playhead ingest`
and `playhead worker` are killed with SIGKILL and started again, some with a clock that is two hours off; with
--kafka, upkeep, the Kafka broker and the PostgreSQL server too. Upkeep runs every few seconds with ages of seconds
instead of days. Paths are spelled with `//`, `.` and `..`. At the end the log is taken away and another one made:
`playhead verify` must name that, and the worker must go on with the new log when it is told to.

Then a process of its own reads the journal and the lake, with DuckDB alone. Nothing in this folder imports
Playhead: the clients, the journal and the verdict know only the protocol, the command line, and the names of the
lake's columns.

An event is known by the `journal` value in its custom metadata. There are two kinds of clients. Those with an
Idempotency-Key repeat a request until it is answered, and each of their events must be there exactly once, however
often it was sent; those without one go on, and an event that was not answered may be there once or not. Both now
and then upload a whole session that was played offline, again and again until it is answered.
"""
