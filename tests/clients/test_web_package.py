"""The client for web players as a package: its size, its types, its version, the lines that put it into a page."""

import functools
import gzip
import json
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rigs.browser import needs_chromium, opened
from rigs.films import FILMS
from rigs.ingest import running
from rigs.node_packages import WEB, node_modules, run_node_tool
from rigs.processes import ROOT
from rigs.programs import tool
from rigs.waiting import until

BYTES_MAX = 5_000
PACKAGE = json.loads((WEB / "package.json").read_text())


def test_the_client_is_small() -> None:
    """At most 5 kB, minified and compressed."""
    minified = run_node_tool("esbuild", "--minify", "--format=esm", WEB / "playhead.js")
    assert b"export{" in minified
    assert len(gzip.compress(minified, mtime=0)) <= BYTES_MAX


def test_the_types_are_those_of_the_source(tmp_path: Path) -> None:
    """The compiler finds no error in the modules, and makes the .d.ts files that are there."""
    run_node_tool("tsc", "--project", WEB / "tsconfig.json", "--outDir", tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made.keys() == {path.name for path in WEB.glob("*.d.ts")}
    for name, text in made.items():
        assert (WEB / name).read_text() == text, name


@pytest.mark.parametrize(
    ("program", "is_right"),
    [
        ("playhead(video, {url: '/', content: {id: 'a'}}).ad({id: 'x', length: 15}).complete();", True),
        ("playhead(video, {url: '/', content: {id: 'a'}}).ad({id: 'x'});", False),
        ("playhead(video, {url: '/', content: {name: 'no id'}});", False),
        ("playhead(video, {content: {id: 'a'}});", False),
        ("watchHls(playhead(video, {url: '/', content: {id: 'a'}}), new Hls());", True),
        ("watchShaka(playhead(video, {url: '/', content: {id: 'a'}}), new shaka.Player());", True),
    ],
)
def test_a_program_in_typescript_is_checked(program: str, is_right: bool, tmp_path: Path) -> None:
    """What is right compiles, with the types of the players' own; a key that is missing does not."""
    imports = f"""
        import {{ playhead }} from "{WEB / "playhead.js"}";
        import {{ watchHls }} from "{WEB / "hls.js"}";
        import {{ watchShaka }} from "{WEB / "shaka.js"}";
        import Hls from "hls.js";
        import shaka from "shaka-player";
        declare const video: HTMLVideoElement;
        void [playhead, watchHls, watchShaka, Hls, shaka];
    """
    (tmp_path / "program.ts").write_text(imports + program)
    (tmp_path / "node_modules").symlink_to(node_modules())
    options = ["--strict", "--noEmit", "--skipLibCheck", "--target", "es2022", "--module", "esnext"]
    options += ["--moduleResolution", "bundler", "--types", ""]
    if is_right:
        run_node_tool("tsc", *options, tmp_path / "program.ts")
    else:
        with pytest.raises(AssertionError, match="error TS"):
            run_node_tool("tsc", *options, tmp_path / "program.ts")


def test_package_and_source_have_one_version() -> None:
    """A page that imports a version gets it, and the events say so. All files are there."""
    source = (WEB / "playhead.js").read_text()
    assert f'export const VERSION = "{PACKAGE["version"]}";' in source
    assert f"/playhead-{PACKAGE['version']}.js" in (WEB / "README.md").read_text()
    assert PACKAGE["license"] == "Apache-2.0"
    assert all((WEB / name).exists() for name in PACKAGE["files"])
    assert {target.removeprefix("./") for target in PACKAGE["exports"].values()} < set(PACKAGE["files"])


def test_the_package_has_its_licence_and_all_that_its_readme_links() -> None:
    """Whoever installs it from npm has these files alone. The licence is that of all of Playhead."""
    command = [tool("npm"), "pack", "--dry-run", "--json", "--ignore-scripts", "--offline"]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, timeout=60, check=True)
    packed = {file["path"] for file in json.loads(done.stdout)[0]["files"]}
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", (WEB / "README.md").read_text())
    assert {"LICENSE", "playhead.js", *linked} <= packed
    assert (WEB / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_client_needs_no_package() -> None:
    """No module imports another at run time, but as a type."""
    assert "dependencies" not in PACKAGE
    for path in WEB.glob("*.js"):
        assert not re.search(r"^import |^export .* from|\bimport\((?!\")", path.read_text(), re.MULTILINE), path


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, *_: Any) -> None:
        """Keep the test's output quiet."""


@needs_chromium
@pytest.mark.parametrize("page", [ROOT / "README.md", WEB / "README.md"], ids=["README", "clients/web/README"])
def test_the_lines_of_the_readme_send_events(page: Path, tmp_path: Path) -> None:
    """Pasted into a page with a video, with the ingest's address in them: as the video plays, a session begins."""
    (lines,) = re.findall(r"^```html\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(FILMS / "film.webm", site)
    handler = functools.partial(Quiet, directory=str(site))
    with running(tmp_path / "data") as ingest, ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        pasted, count = re.subn(r"http://127\.0\.0\.1:8080|https://events\.example", ingest.url, lines)
        assert count == 2
        (site / "index.html").write_text(f"<!doctype html><video muted src=film.webm></video>{pasted}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with opened(f"http://localhost:{server.server_address[1]}/", tmp_path / "profile") as browser:
            browser.wait(lambda browser: browser.evaluate("document.querySelector('video').readyState > 0"))
            browser.evaluate("document.querySelector('video').play()")
            until(lambda: len(ingest.records()) >= 2)
        server.shutdown()
        start, play = (record["data"] for record in ingest.records()[:2])
    assert (start["eventType"], play["eventType"]) == ("sessionStart", "play")
    assert (start["params"]["media.id"], start["params"]["media.name"]) == ("film-1", "A film")
