"""DuckDB's errors as a person should read them: the cause first, then where, no passwords, and what to do."""

import re

from schemas.settings import masked

LENGTH_MAX = 1_000
# DuckDB quotes the whole connection string, twice, before the cause.
_NOT_CONNECTED = re.compile(
    r'(?:\w+ )*Error: .*?Unable to connect to Postgres at "(?P<where>.*?)": (?P<cause>.*)', re.DOTALL
)
# What `catalog.connect` adds to a connection string.
_ADDED = re.compile(r"\s*\b(?:connect_timeout|keepalives\w*|tcp_user_timeout|options)=(?:'(?:[^'\\]|\\.)*'|\S+)")
_CURES = (
    (
        "password authentication failed|no password supplied",
        "set PLAYHEAD_LAKE_CATALOG_PASSWORD, or PLAYHEAD_LAKE_CATALOG_PASSWORD_FILE, to this role's password",
    ),
    (
        "Connection refused|could not translate host name|timeout expired|No route to host|Connection timed out",
        "start PostgreSQL, or correct host and port in PLAYHEAD_LAKE_CATALOG",
    ),
    (
        'database ".*" does not exist',
        "create this database (createdb), or correct dbname in PLAYHEAD_LAKE_CATALOG",
    ),
    (
        'role ".*" does not exist|no pg_hba.conf entry',
        "let this role in, or correct user in PLAYHEAD_LAKE_CATALOG",
    ),
    ("too many clients|too many connections", "raise max_connections of PostgreSQL, or end other clients"),
    (
        r"HTTP 40[13]|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|"
        r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE",
        "set PLAYHEAD_LAKE_S3_ACCESS_KEY and PLAYHEAD_LAKE_S3_SECRET_KEY to a key that may use the bucket",
    ),
    (
        "Could not establish connection|Could not connect to server|Could not resolve host|NETWORK_CONNECTION",
        "start the S3 server, or correct PLAYHEAD_LAKE_S3_ENDPOINT",
    ),
    ("NoSuchBucket|NO_SUCH_BUCKET", "create this bucket, or correct its name in the setting"),
    (
        "No snapshot found at version",
        "it expired while it was read: keep snapshots for longer than that takes (PLAYHEAD_LAKE_SNAPSHOTS_KEPT_S)",
    ),
    ("No space left on device|Disk quota exceeded", "free some disk, or add one"),
    ("Permission denied", "let this user read and write there, or run as the user who made the lake"),
)
# A catalogue that lacks tables or is no database, or tables of another program with the names of DuckLake's.
_DAMAGED = re.compile(
    r"file is not a database|disk image is malformed|No snapshot found in DuckLake|"
    r'\bducklake_\w+"? does not exist|Failed to load existing DuckLake: Referenced column'
)
DAMAGED = (
    "the lake's catalogue is damaged, or belongs to another program: correct PLAYHEAD_LAKE_CATALOG or "
    "PLAYHEAD_DATA_DIR, or make the lake again as docs/runbook.md says, Lose the lake"
)


def cause(error: Exception) -> str:
    """Return an error of DuckDB as one line that begins with its cause; a connection string comes last."""
    text = str(error).strip()
    if found := _NOT_CONNECTED.match(text):
        where = _ADDED.sub("", found["where"]).strip()
        text = f"cannot connect to PostgreSQL: {found['cause']} (at {where})"
    return masked(" ".join(text.split()))[:LENGTH_MAX]


def with_cure(error: Exception) -> str:
    """Return the cause of an error, and what to do if that is known."""
    said = cause(error)
    if _DAMAGED.search(said):
        return f"{DAMAGED} ({said})"
    cure = next((cure for pattern, cure in _CURES if re.search(pattern, said)), None)
    return f"{said}: {cure}" if cure else said
