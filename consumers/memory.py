"""Returns freed memory to the system."""

import ctypes

_LIBC = ctypes.CDLL(None)


def give_back() -> None:
    """Let the C library return free pages to the system, if it can; this takes some milliseconds.

    A large write leaves holes between what stays, and by itself glibc returns only what is free at its end.
    """
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
