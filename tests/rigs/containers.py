"""Does a container engine answer?"""

import contextlib
import functools
import gc
import warnings

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]


@functools.cache
def has_container_engine() -> bool:
    """Return whether one does; asked once."""
    answers = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client leaves its socket open when it fails
        with contextlib.suppress(docker.errors.DockerException):
            answers = bool(docker.from_env(timeout=5).ping())
        gc.collect()
    return answers
