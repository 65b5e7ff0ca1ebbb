"""The name of this process where others see it: in ledgers, and among the members of a consumer group."""

import os
import socket


def process_name() -> str:
    """Return host and process id, such as `worker-3:1234`."""
    return f"{socket.gethostname()}:{os.getpid()}"
