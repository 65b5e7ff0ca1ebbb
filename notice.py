"""The licences of the packages in this environment, as the NOTICE of an image: `python notice.py > NOTICE`."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageMetadata, distributions

OURS = "playhead"
_LICENSE_FILE = re.compile(r"(^|/)[^/]*(LICEN[CS]E|COPYING|NOTICE|AUTHORS)[^/]*$", re.IGNORECASE)
_LINE = "=" * 80


def notice() -> Iterator[str]:
    """Return the parts of the notice: for each package but ours, its version, licence and licence files."""
    yield "Playhead is distributed with the packages below, each under its own licence.\n"
    for package in sorted(distributions(), key=lambda each: each.name.lower()):
        if package.name != OURS:
            yield f"{_LINE}\n{package.name} {package.version}: {license_of(package.metadata)}\n"
            yield from _texts(package)


def license_of(metadata: PackageMetadata) -> str:
    """Return the licence that a package states, in one line."""

    def values(field: str) -> list[str]:
        return metadata.get_all(field) or []

    classifiers = [each.rpartition(" :: ")[2] for each in values("Classifier") if each.startswith("License :: ")]
    texts = [text.strip().partition("\n")[0] for text in values("License") if text.strip()]
    return ", ".join(values("License-Expression") or classifiers or texts) or "see its files"


def _texts(package: Distribution) -> Iterator[str]:
    for file in package.files or []:
        if ".dist-info/" in str(file) and _LICENSE_FILE.search(str(file)):
            yield f"\n--- {file.name}\n\n{file.read_text(encoding='utf-8').strip()}\n"


if __name__ == "__main__":
    sys.stdout.writelines(f"{part}\n" for part in notice())
