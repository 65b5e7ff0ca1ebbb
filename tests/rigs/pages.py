"""The pages, run as scripts."""

import html
import importlib.util
import re

from notebooks.gallery import pages


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
