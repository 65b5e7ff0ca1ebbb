"""A lake of three days of viewers and ads: who comes back, who denies, which ads fail, which breaks are left."""

from pathlib import Path
from typing import Any

import msgspec

from rigs.lake import Lake, record_value, write_values

DAY_S = 86_400
AD_S = 20.0
Events = list[tuple[float, str, float, dict[str, Any]]]  # seconds from the start, type, playhead, params


class Told(msgspec.Struct, frozen=True):
    """One session: when it began, whose it is, what it plays, and the ads before it: campaign and outcome."""

    at_s: float
    user: str | None = None
    consent: str | None = None
    content: str = "film"
    ads: tuple[tuple[str, str], ...] | None = None


# The last day begins after the sessions of `lapsed`. Each ad of `bad` fails after a quarter of it.
TOLD = [
    Told(0, "back", "given"),
    Told(600, "gone long ago", "given"),
    Told(1.05 * DAY_S, "lapsed", "given"),
    Told(1.05 * DAY_S + 3600, consent="denied"),
    Told(2 * DAY_S, "back", "given"),
    Told(2 * DAY_S + 600, "back", "given", content="next"),
    Told(2 * DAY_S + 1200, "new", "given"),
    Told(2 * DAY_S + 1800, consent="denied"),
    *[
        Told(2 * DAY_S + 3600 + 300 * number, ads=(("good", "adComplete"), ("bad", "error")))
        for number in range(12)
    ],
    Told(2 * DAY_S + 8000, ads=(("good", "adSkip"),)),
    Told(2 * DAY_S + 8300, ads=(("good", "silence"),)),
    Told(2 * DAY_S + 8600, ads=()),
    Told(2 * DAY_S + 10_000),
]


def told_lake(folder: Path, *, start_ms: int) -> Lake:
    """Make the lake; its first session begins at `start_ms`."""
    lake = Lake(folder)
    with lake.writer() as writer:
        held = writer.load(0, None)
        for number, told in enumerate(sorted(TOLD, key=lambda told: told.at_s)):
            values = []
            for place, (after_s, name, head, params) in enumerate(_events(told)):
                ts = start_ms + int((told.at_s + after_s) * 1000)
                more = params if name == "sessionStart" else {"params": params}
                value = record_value(
                    f"{number}.{place}",
                    f"s{number:02}",
                    name,
                    ts=ts,
                    received_ms=ts,
                    playhead=head,
                    consent=told.consent,
                    **more,
                )
                values.append(value)
            write_values(writer, held, values, appended_ms=ts)
    return lake


def _events(told: Told) -> Events:
    start = {"media.id": told.content, "media.name": told.content.title()}
    if told.user is not None:
        start["analytics.visitorId"] = told.user
    events: Events = [(0, "sessionStart", 0, start)]
    now_s = 1.0
    if told.ads is not None:
        events.append((now_s, "adBreakStart", 0, {"media.ad.podIndex": 1, "media.ad.podSecond": 0}))
        for position, (campaign, outcome) in enumerate(told.ads, start=1):
            params = {
                "media.ad.id": f"{campaign}-1",
                "media.ad.campaignId": campaign,
                "media.ad.length": AD_S,
                "media.ad.podPosition": position,
            }
            events.append((now_s, "adStart", 0, params))
            if outcome == "silence":
                return [*events, (now_s + 12, "ping", 0, {})]
            now_s += AD_S if outcome == "adComplete" else AD_S / 4
            of_error = {"media.qoe.errorID": "E", "media.qoe.errorSource": "ads"} if outcome == "error" else {}
            events.append((now_s, outcome, 0, of_error))
        events.append((now_s := now_s + 1, "adBreakComplete", 0, {}))
    events += [(now_s, "play", 0, {}), (now_s + 10, "ping", 10, {}), (now_s + 20, "sessionEnd", 20, {})]
    return events
