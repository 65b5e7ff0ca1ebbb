"""The commands of docs/runbook.md, as an operator pastes them into a shell."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from rigs.commands import PLAYHEAD
from rigs.postgres import BINARIES

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(heading: str) -> list[str]:
    """Return the blocks of commands in a section."""
    _, found, rest = RUNBOOK.read_text().partition(f"\n## {heading}\n")
    assert found, f"the runbook has no section {heading}"
    return _BLOCK.findall(rest.partition("\n## ")[0])


def follow(commands: str, *, cwd: Path, environment: Mapping[str, str]) -> str:
    """Run commands in a shell, each of which must end well; return what they print."""
    folders = [str(PLAYHEAD.parent), *(str(path.parent) for path in Path("/").glob(BINARIES)), os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=cwd,
        env={**environment, "PATH": ":".join(folders)},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    return done.stdout
