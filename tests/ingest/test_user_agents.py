"""User-Agents: what is read of them comes from closed lists, and costs no more for hostile ones."""

import re
import time
from functools import partial

import pytest
from rigs.user_agents import USER_AGENTS

from ingest.user_agents import BROWSERS, SYSTEMS, UserAgents
from schemas.client import UNKNOWN_CLIENT, Client

NAME = "someone@mail.example"
HOSTILE = (
    b"Mozilla/5.0 " + b"a" * 8_000,
    b"Mozilla/5.0 (" + b"; " * 4_000,
    b"Android " * 1_000,
    b"tizen " * 1_000,
    b"mozilla/android" * 500,
    b"(" * 8_000,
    b"\xff" * 8_000,
    b"Mozilla/5.0 (Linux; Android 9; " + b"x" * 100 + b" Build/" * 70,
)


@pytest.fixture(scope="module")
def user_agents() -> UserAgents:
    """The rules, loaded once."""
    return UserAgents()


@pytest.mark.parametrize("text", list(USER_AGENTS))
def test_a_user_agent_says_what_device_it_is(user_agents: UserAgents, text: str) -> None:
    """Kind of device, system, browser, and whether it is a bot."""
    assert user_agents.read(text.encode()) == Client(*USER_AGENTS[text])


@pytest.mark.parametrize("header", [b"", b"  "])
def test_no_user_agent_says_nothing(user_agents: UserAgents, header: bytes) -> None:
    """Nothing is known then, which is not the same as a device of another kind."""
    assert user_agents.read(header) == UNKNOWN_CLIENT


@pytest.mark.parametrize(
    "text",
    [
        NAME,
        f"{NAME} CFNetwork/1490 Darwin/23",
        f"Mozilla/5.0 (compatible; {NAME}bot/2.1)",
        f"{NAME}/1.0 (Linux; Android 14; {NAME} Build/1)",
        f"Mozilla/5.0 (Linux; Android 14; {NAME}) {NAME}/4.2 Mobile Safari/537.36",
        f"Chrome {NAME}",
        "10.1.2.3",
    ],
)
def test_no_part_of_it_is_passed_on(user_agents: UserAgents, text: str) -> None:
    """A name that a sender puts in is on no list."""
    said = user_agents.read(text.encode())
    assert said.os in (*SYSTEMS, "other")
    assert said.browser in (*BROWSERS, "other")
    assert not re.search("someone|mail|example|10", repr(said))


def test_a_hostile_user_agent_costs_no_more_than_another(user_agents: UserAgents) -> None:
    """Each is read once, in a fraction of a millisecond; long ones as far as their beginning."""
    for header in HOSTILE:
        began_s = time.process_time()
        user_agents.read(header)
        assert time.process_time() - began_s < 0.05, header[:40]


def test_many_different_ones_take_no_more_memory(user_agents: UserAgents) -> None:
    """The newest few thousand are known, the others are read again."""
    read = partial(str.format, "Mozilla/5.0 (Linux; Android 1{0}; SM-{0}) Chrome/{0}.0.0.0 Mobile Safari/537.36")
    for number in range(6_000):
        user_agents.read(read(number).encode())
    assert user_agents.known == 4_096
