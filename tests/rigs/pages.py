"""The pages: run as scripts, and served, with what a browser sees of them."""

import contextlib
import html
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from notebooks.gallery import pages
from rigs.processes import ROOT, Process, started

# Marimo draws charts inside shadow roots, where no selector reaches.
CHARTS = """
    (function count(root) {
        let charts = 0;
        for (const element of root.querySelectorAll('*')) {
            if (element.matches('canvas, svg.marks')) charts += 1;
            if (element.shadowRoot) charts += count(element.shadowRoot);
        }
        return charts;
    })(document)
"""
# An hourglass is shown while a cell runs.
IS_SETTLED = "!document.querySelector('[data-testid=loading-indicator]')"


def text_of(path: str) -> str:
    """Run a page over the lake of this process's environment; return what its cells show, text and markup."""
    spec = importlib.util.spec_from_file_location(path, pages()[path])
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    outputs, _ = page.app.run()
    shown = "".join(str(getattr(output, "text", output)) for output in outputs if output is not None)
    # marimo's own elements have their content as JSON in an attribute.
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), html.unescape(shown))


def environment() -> dict[str, str]:
    """Return this process's environment without settings, in which `playhead` is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")}
    return kept | {"PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def served(data_dir: Path, log: Path, *options: str, **settings: str) -> Iterator[tuple[str, Process]]:
    """Serve the pages over a lake; return the address that is printed, and the process."""
    arguments = ["notebooks", "--port", "0", "--data", str(data_dir), *options]
    command = [sys.executable, "-P", "-m", "playhead", *arguments]
    with started(command, log=log, env=environment() | settings) as server:
        found = server.wait_for(
            lambda: re.search(r"^pages: (http://\S+)$", server.output, re.MULTILINE), "the pages are not served"
        )
        yield found[1], server
        assert server.end() == 0, server.output
