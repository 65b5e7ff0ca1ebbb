"""A lake with every oddity: late, repeated, startless, silent, of a wrong clock, refused, lost."""

from pathlib import Path

import msgspec

from rigs.lake import Lake, record_value, write_told, write_values
from rigs.poison import REJECTED, ping

STRANGER = "joe.doe@mail.example"
"""An identity that another producer wrote into a record that nobody can decode."""
BATCH_MS = 60_000
# Each session, seconds from its start to each event: type, playhead, and seconds from the event to its arrival.
TOLD: dict[str, list[tuple[float, str, float, float]]] = {
    "plain": [(0, "sessionStart", 0, 0), (1, "play", 0, 0), (11, "ping", 10, 0), (21, "sessionEnd", 20, 0)],
    "clock": [(0, "sessionStart", 0, 3600), (1, "play", 0, 3600), (11, "ping", 10, 3600)],
    "twice": [(0, "sessionStart", 0, 0), (1, "play", 0, 0), (11, "ping", 10, 0), (11, "ping", 10, 1)],
    "startless": [(0, "play", 0, 0), (10, "ping", 10, 0), (20, "ping", 20, 0)],
    "silent": [(0, "sessionStart", 0, 0), (1, "play", 0, 0), (11, "ping", 10, 0), (411, "ping", 20, 0)],
    "slow": [(0, "sessionStart", 0, 0), (1, "play", 0, 0), (11, "ping", 10, 90), (21, "ping", 20, 90)],
    "late": [(0, "sessionStart", 0, 0), (1, "play", 0, 0), (21, "sessionEnd", 20, 0), (11, "ping", 10, 3000)],
}


def odd_lake(folder: Path, *, start_ms: int) -> Lake:
    """Make the lake; its sessions begin at `start_ms` by the true clock, and an hour later all is read."""
    lake = Lake(folder)
    batches: dict[int, list[tuple[int, bytes]]] = {}
    for session, told in TOLD.items():
        behind_ms = 3_600_000 if session == "clock" else 0
        for place, (after_s, name, head, delay_s) in enumerate(told):
            ts = start_ms + int(after_s * 1000) - behind_ms
            received_ms = ts + int(delay_s * 1000)
            value = record_value(
                f"{session}.{place}", session, name, ts=ts, received_ms=received_ms, playhead=head
            )
            batches.setdefault(received_ms // BATCH_MS, []).append((received_ms, value))
    with lake.writer() as writer:
        held = writer.load(0, None)
        for _, batch in sorted(batches.items()):
            write_told(writer, held, sorted(batch))
        end_ms = start_ms + 3_600_000
        refused = [
            *[msgspec.json.encode(REJECTED)] * 2,
            msgspec.json.encode(ping(type=STRANGER)),
            msgspec.json.encode(ping(specversion=STRANGER)),
            msgspec.json.encode(ping("data/eventType", STRANGER)),
            b"\xff" + STRANGER.encode(),
        ]
        write_values(writer, held, refused, appended_ms=end_ms)
    lake.do(
        "INSERT INTO gaps VALUES (0, 1000, 1010, TIMESTAMPTZ '2025-06-01 00:00:00+00', 'the disk was lost')",
        "INSERT INTO duplicates VALUES (0, 1010, 'plain.0', 'stored before')",
    )
    return lake
