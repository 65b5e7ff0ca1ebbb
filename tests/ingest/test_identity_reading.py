"""What finding identities costs, and that texts which are not read hold none."""

import copy
import json
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rigs.identities import IDENTITIES, KEY
from rigs.ingest import session_start

from ingest.identity import Pseudonymizer, RefusedPseudonymizer, pseudonym
from ingest.names import LEARNT_MAX, Names


@pytest.mark.parametrize(
    "text",
    [
        "a" * 60000,
        "a@" * 30000,
        "@a." * 20000,
        "a=" * 30000,
        '"a":' * 15000,
        "\\" * 60000,
        " " * 60000,
        "." * 60000,
        "a@" + "a." * 29000 + "1",
        "%40" * 20000,
        "a" + " " * 59000 + ":",
        "-_" * 30000,
    ],
    ids=lambda text: text[:4],
)
def test_reading_a_text_takes_time_linear_in_its_length(text: str) -> None:
    """Whatever a text of 60 kB is, as a value and as a key: a few milliseconds, where quadratic were seconds."""
    pseudonymizer = RefusedPseudonymizer(KEY, links_devices=True)
    began_s = time.process_time()
    pseudonymizer.over({text: {"x": text, "user_id": text}}, denied=False)
    pseudonymizer.has_to_read(json.dumps(text).encode())
    assert time.process_time() - began_s < 0.5


def test_many_different_names_cost_little_and_take_bounded_memory() -> None:
    """100,000 names that nobody uses twice: what is remembered has an end, and known names stay known."""
    names = Names()
    began_s = time.process_time()
    for number in range(100_000):
        names.meaning(f"key{number}")
    assert time.process_time() - began_s < 10
    assert len(names.content) <= LEARNT_MAX
    assert (names.meaning("media.id"), names.meaning("user_id")) == ("content", "user")


near_addresses = st.lists(
    st.sampled_from(
        [
            "a",
            "Z",
            "7",
            "_",
            "-",
            ".",
            "@",
            "%40",
            "é",
            "例",
            "\u3002",
            "\\",
            '"',
            "/",
            " ",
            "\n",
            "=",
            "email",
            "user",
        ]
    ),
    max_size=12,
).map("".join)


@given(text=near_addresses, escaped=st.sampled_from(["no", "above ASCII", "everything"]))
@example(text="a@b.cc", escaped="no")
@example(text="a@é.cc", escaped="above ASCII")
def test_texts_that_are_not_read_hold_no_identity(text: str, escaped: str) -> None:
    """Whether the texts of an event are read goes by the bytes of its body, and changes nothing that is stored."""
    body = session_start(**{"media.name": text}) | {"customMetadata": {"x": text}}
    if escaped == "everything":
        sent = json.dumps(body).replace(json.dumps(text), '"' + "".join(map(_escape, text)) + '"').encode()
    else:
        sent = json.dumps(body, ensure_ascii=escaped == "above ASCII").encode()
    assert json.loads(sent) == body
    pseudonymizer = Pseudonymizer(KEY, links_devices=True)
    reads_texts = pseudonymizer.has_to_read(sent)
    stored = pseudonymizer.over_event(body, denied=False, reads_texts=reads_texts)
    assert stored == pseudonymizer.over_event(body, denied=False, reads_texts=True)


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}"


def test_the_organization_of_a_session_start_is_no_reason_to_read_its_texts() -> None:
    """`...@AdobeOrg` is in every sessionStart; reading all of its texts took 8 of 50 us of a request."""
    body = session_start(**{"visitor.marketingCloudOrgId": "0123456789ABCDEF01234567@AdobeOrg"})
    assert not Pseudonymizer(KEY, links_devices=True).has_to_read(json.dumps(body).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*IDENTITIES, "id", "x"]), inner, max_size=4)
    ),
)


@given(
    event=st.dictionaries(st.sampled_from(["params", "qoeData", *IDENTITIES]), json_values), denied=st.booleans()
)
def test_pseudonymizing_leaves_what_it_is_given_alone(event: dict[str, Any], denied: bool) -> None:
    """The event given is not changed, and its other parts come out as they went in."""
    before = copy.deepcopy(event)
    stored, _ = Pseudonymizer(KEY, links_devices=True).over(event, denied=denied)
    assert event == before
    if not any(name in json.dumps(event) for name in IDENTITIES):
        assert stored == event


@given(value=st.text(min_size=1), other=st.text(min_size=1))
def test_pseudonyms_are_equal_for_equal_values_only(value: str, other: str) -> None:
    """32 hex characters, the same each time, different for another value, namespace or key."""
    made = pseudonym(KEY, "user", value)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert (made == pseudonym(KEY, "user", other)) is (value == other)
    assert made not in (pseudonym(KEY, "device", value), pseudonym(b"another", "user", value))
