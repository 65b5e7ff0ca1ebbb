"""The wheel as it is shipped, installed where nothing else of this project is: no checkout, no editable install.

The packages that it needs are linked from this environment, so nothing is downloaded, and a package that is not
among them is really missing.
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def build(folder: Path) -> Path:
    """Build the wheel into a folder and return it."""
    hatchling = Path(sys.executable).parent / "hatchling"
    subprocess.run(
        [hatchling, "build", "--target", "wheel", "--directory", folder], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, *extras: str) -> Path:
    """Install a wheel and the packages that it and these extras need into a new venv; return its `playhead`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in _paths(needed(extras).values()):
        (packages / path.name).symlink_to(path)
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    options = ["--quiet", "--offline", "--no-deps", "--python", str(folder / "bin" / "python")]
    subprocess.run([uv, "pip", "install", *options, wheel], check=True)
    return folder / "bin" / "playhead"


def needed(extras: tuple[str, ...] = ()) -> dict[str, Distribution]:
    """Return the packages that the project and these extras need, and those that these need, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"]]
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    waiting = [Requirement(text) for text in texts]
    found: dict[str, Distribution] = {}
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        package = found[canonicalize_name(requirement.name)] = distribution(requirement.name)
        for text in package.requires or []:
            further = Requirement(text)
            choices = [{"extra": extra} for extra in ("", *requirement.extras)]
            if further.marker is None or any(further.marker.evaluate(choice) for choice in choices):
                waiting.append(further)
    return found


def _paths(packages: Iterable[Distribution]) -> set[Path]:
    """Return what these packages have put directly below site-packages."""
    return {
        Path(str(package.locate_file(file.parts[0])))
        for package in packages
        for file in package.files or []
        if file.parts[0] not in ("..", "__pycache__")
    }
