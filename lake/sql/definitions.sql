-- Tables of definitions; `playhead init` refills them if this version of Playhead has others.

-- Every metric: its meaning, how it is computed, and where it is.
CREATE TABLE metric_catalog (
    name VARCHAR,                  -- name of the metric; includes the source where sources differ
    definition VARCHAR,            -- what it means
    unit VARCHAR,                  -- unit, or count; a ratio is 0 to 1 unless the definition says otherwise
    numerator VARCHAR,             -- the sum, in SQL over counted_sessions or in words
    denominator VARCHAR,           -- divisor; null if none
    source VARCHAR,                -- whose definition it is
    "set" VARCHAR,                 -- sessions it is computed from; those without a value are excluded
    often_confused_with VARCHAR,   -- metrics with similar names but other definitions
    stands VARCHAR,                -- view, macro or column that has it; or: not measured
    query VARCHAR                  -- example query; null if not measured
);

-- The definitions that views and macros were last made from.
CREATE TABLE definitions (
    sha256 VARCHAR                 -- SHA-256 of their text
);
