"""The pages as one site: which there are, who may open them, and that `up` says where they are."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rigs.commands import playhead, started
from rigs.lake import Lake
from rigs.waiting import WITHIN_S
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from commands.notebooks import is_loopback
from notebooks.gallery import pages, question

ADDRESS = re.compile(r"^(?:notebooks )?pages: (http://\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the pages of an empty lake are, for this machine alone."""
    cwd = tmp_path_factory.mktemp("pages")
    Lake(cwd / "data")
    with started("notebooks", "--port", "0", cwd=cwd) as running:
        yield running.wait_for(lambda: ADDRESS.search(running.output), "no address is printed")[1]
        assert running.end() == 0, running.output


def test_every_page_is_listed_with_its_question_and_opens(address: str) -> None:
    """The list is at the address itself; each page of the folder is a link in it."""
    listed = httpx.get(address).text
    assert pages()
    for path, file in pages().items():
        assert f'href="{path}/"' in listed
        assert question(file) in listed
        assert httpx.get(f"{address}{path}/", timeout=WITHIN_S).status_code == 200


def test_the_demo_without_an_ingest_says_what_to_do(address: str) -> None:
    """The list leads there; with an ingest, `test_demo.py` plays."""
    assert 'href="demo/"' in httpx.get(address).text
    shown = httpx.get(f"{address}demo", follow_redirects=True).text
    assert "<code>playhead up</code> runs an ingest" in shown
    assert "PLAYHEAD_NOTEBOOKS_INGEST_URL" in shown


def test_a_site_that_names_itself_by_our_address_is_refused(address: str) -> None:
    """Its name may lead to this machine, but a browser sends that name."""
    assert httpx.get(address, headers={"Host": "site.example"}).status_code == 400
    assert httpx.get(address, headers={"Host": "localhost"}).status_code == 200
    assert httpx.get(address, headers={"Host": "[::1]:8090"}).status_code == 200


def test_a_page_of_another_site_opens_no_socket(address: str) -> None:
    """Browsers let any page open one to any address."""
    socket = address.replace("http", "ws") + "now/ws?session_id=s_abcdef"
    with pytest.raises(InvalidStatus, match="403"):
        connect(socket, origin=Origin("https://site.example"), open_timeout=WITHIN_S)


def test_beyond_this_machine_only_who_names_the_token_gets_in(tmp_path: Path) -> None:
    """The printed address has a token, which a cookie carries on; nobody else sees a page or opens a socket."""
    Lake(tmp_path / "data")
    with started("notebooks", "--port", "0", "--host", "0.0.0.0", cwd=tmp_path) as running:
        printed = running.wait_for(lambda: ADDRESS.search(running.output), "no address is printed")[1]
        bare, _, token = printed.replace("0.0.0.0", "127.0.0.1").partition("?access_token=")
        assert len(token) > 40
        for path in ("", "now/", "?access_token=wrong"):
            refused = httpx.get(bare + path)
            assert refused.status_code == 401
            assert "playhead notebooks" in refused.text
        with pytest.raises(InvalidStatus, match="403"):
            connect(bare.replace("http", "ws") + "now/ws?session_id=s_abcdef", open_timeout=WITHIN_S)
        with httpx.Client(follow_redirects=True) as browser:
            page = browser.get(f"{bare}now/?content=a+b&access_token={token}")
            assert page.status_code == 200
            assert str(page.url) == f"{bare}now/?content=a+b"
            assert browser.get(bare).status_code == 200


def test_a_token_of_one_s_own_is_asked_for_on_this_machine_too(tmp_path: Path) -> None:
    """`PLAYHEAD_NOTEBOOKS_TOKEN`."""
    Lake(tmp_path / "data")
    settings = {"PLAYHEAD_NOTEBOOKS_TOKEN": "a token of one's own"}
    with started("notebooks", "--port", "0", cwd=tmp_path, settings=settings) as running:
        printed = running.wait_for(lambda: ADDRESS.search(running.output), "no address is printed")[1]
        assert httpx.get(printed.partition("?")[0]).status_code == 401


@pytest.mark.parametrize(
    ("host", "is_so"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)]
)
def test_only_loopback_needs_no_token(host: str, is_so: bool) -> None:
    """Every other address may be reached from elsewhere."""
    assert is_loopback(host) is is_so


def test_a_port_in_use_is_named(tmp_path: Path, address: str) -> None:
    """With what chooses another."""
    Lake(tmp_path / "data")
    port = httpx.URL(address).port
    done: subprocess.CompletedProcess[str] = playhead("notebooks", "--port", str(port), cwd=tmp_path)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "PLAYHEAD_NOTEBOOKS_PORT" in done.stderr


def test_up_prints_where_its_pages_are(tmp_path: Path) -> None:
    """Once they answer; they end with it."""
    settings = {"PLAYHEAD_UP_NOTEBOOKS": "on", "PLAYHEAD_NOTEBOOKS_PORT": "0"}
    with started("up", "--viewers", "1", "--port", "0", cwd=tmp_path, settings=settings) as running:
        printed = running.wait_for(lambda: ADDRESS.search(running.output), "no address is printed")[1]
        assert httpx.get(f"{printed}now/").status_code == 200
        assert f"demo, to press play: {printed}demo/" in running.output
        (ingest,) = re.findall(r"Playhead listens on (\S+);", running.output)
        assert f'data-ingest="{ingest}"' in httpx.get(f"{printed}demo/").text
        assert running.end() == 0, running.output
        assert not running.by_verb()
    with pytest.raises(httpx.ConnectError):
        httpx.get(printed)
