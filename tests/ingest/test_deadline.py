"""Deadlines on one timer: they move, they can be cleared, and an idle connection ends at its own."""

import asyncio
from functools import partial

import uvicorn

from ingest.deadline import Deadline
from ingest.http import Reply
from ingest.protocol import ConnectionProtocol, State, answer

WAITS_S = 10.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def wait_for_expiry(deadline: Deadline, expired: asyncio.Event) -> None:
    """Wait for the end of a deadline."""
    await asyncio.wait_for(expired.wait(), WAITS_S)
    assert not deadline.is_set


async def test_a_deadline_that_moves_on_expires_once_at_its_last_place() -> None:
    """The timer of its first place fires in between, and finds that it is too early."""
    loop = asyncio.get_running_loop()
    expired = asyncio.Event()
    times_s: list[float] = []

    def expire() -> None:
        times_s.append(loop.time())
        expired.set()

    moved = Deadline(loop, expire)
    began_s = loop.time()
    moved.set(0.02)
    moved.set(0.1)
    await wait_for_expiry(moved, expired)
    await asyncio.sleep(0)
    assert len(times_s) == 1
    assert times_s[0] - began_s >= 0.099


async def test_a_deadline_can_move_nearer() -> None:
    """It does not wait for the timer of its first place."""
    expired = asyncio.Event()
    moved = Deadline(asyncio.get_running_loop(), expired.set)
    moved.set(1_000.0)
    moved.set(0.01)
    await wait_for_expiry(moved, expired)


async def test_a_cleared_deadline_does_not_expire_until_it_is_set_again() -> None:
    """Another deadline, set later, is seen to expire first."""
    loop = asyncio.get_running_loop()
    expired, later_expired = asyncio.Event(), asyncio.Event()
    cleared, later = Deadline(loop, expired.set), Deadline(loop, later_expired.set)
    cleared.set(0.01)
    cleared.clear()
    later.set(0.05)
    await wait_for_expiry(later, later_expired)
    assert not expired.is_set()
    cleared.set(0.01)
    await wait_for_expiry(cleared, expired)


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    """After each reply the connection waits for the next request, but not for ever."""
    keep_alive_s, receive_timeout_s = 1, 20.0
    loop = asyncio.get_running_loop()
    app = partial(answer, Reply(200, [(b"content-length", b"2")], b"ok"))
    config = uvicorn.Config(app, interface="asgi3", log_config=None, timeout_keep_alive=keep_alive_s)
    config.load()
    state = State()
    server = await loop.create_server(
        lambda: ConnectionProtocol(receive_timeout_s, config=config, server_state=state, app_state={}),
        "127.0.0.1",
        0,
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(2):
            writer.write(GET)
            replied = await asyncio.wait_for(reader.readuntil(b"ok"), WAITS_S)
            assert replied.startswith(b"HTTP/1.1 200 OK\r\n")
        began_s = loop.time()
        assert await asyncio.wait_for(reader.read(), WAITS_S) == b""
        assert keep_alive_s * 0.9 <= loop.time() - began_s < receive_timeout_s / 2
        writer.close()
