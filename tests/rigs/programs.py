"""Programs of the system that a test runs."""

import os
import shutil

import pytest


def tool(name: str) -> str:
    """Return the path of a program. Skip the test if it is not installed, and fail if CI is set."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
