"""What the tests of everything together post: documented timelines, a viewer without a name."""

import json
from pathlib import Path

from rigs.commands import SECRETS

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parents[1] / "data"
TIMELINES = json.loads((DATA / "media_timelines.json").read_text())["timelines"]
# The first event of a timeline, without the user identity in it.
ANONYMOUS = {
    **TIMELINES["1"][0],
    "params": {
        name: value for name, value in TIMELINES["1"][0]["params"].items() if name != "analytics.visitorId"
    },
}
KEY = SECRETS["PLAYHEAD_PSEUDONYM_KEY"].encode()
API = {"X-API-Key": "string"}
TRACKING = "/v1/playouts/tracking/session"
