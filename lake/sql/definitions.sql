-- Tables that hold definitions; `playhead init` fills them anew where a version of Playhead has others.

-- Every metric: its meaning, how it is made, and where it stands.
CREATE TABLE metric_catalog (
    name VARCHAR,                  -- name of the metric; the source stands in it where sources differ
    definition VARCHAR,            -- what it means
    unit VARCHAR,                  -- unit, or count; a ratio is 0 to 1 unless the definition says otherwise
    numerator VARCHAR,             -- what is summed up, in SQL over counted_sessions or in words
    denominator VARCHAR,           -- what it is divided by; null if by nothing
    source VARCHAR,                -- who defines it so
    "set" VARCHAR,                 -- sessions it is made of; those without a value are left out
    often_confused_with VARCHAR,   -- other metrics of similar names, and how they differ
    stands VARCHAR,                -- view, macro or column where it stands; or: not measured
    query VARCHAR                  -- an example that asks for it; null if not measured
);

-- What views and macros were last made from.
CREATE TABLE definitions (
    sha256 VARCHAR                 -- hash of their text
);
