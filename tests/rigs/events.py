"""Events drawn at random, most of them wrong somewhere."""

from hypothesis import strategies as st

from schemas.vocabulary import EVENT_TYPES

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)
KEYS = ("media.id", "media.length", "media.contentType", "media.downloaded", "media.state.name", "statesStart")
keys = st.sampled_from((*KEYS, "visitor.customerIDs", "visitor.aamLocationHint", "media.qoe.bitrate", "x"))
times = st.fixed_dictionaries(
    {}, optional={"playhead": st.floats(-1, 1e6) | values, "ts": st.integers(0, 2 * 10**12) | values}
)
parts = st.dictionaries(keys, values, max_size=5) | values
events = st.fixed_dictionaries(
    {},
    optional={
        "eventType": st.sampled_from(list(EVENT_TYPES)) | values,
        "playerTime": times | values,
        "params": parts,
        "qoeData": parts,
        "customMetadata": parts,
        "x": values,
    },
)
any_event = events | values
