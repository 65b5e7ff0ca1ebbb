"""A real S3 server for the tests: moto's, with a bucket `lake`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx

from rigs.processes import started

BUCKET = "lake"
SECRET_KEY = "key-that-nobody-may-see"


@contextlib.contextmanager
def moto_server(folder: Path, port: int) -> Iterator[None]:
    """Run moto's S3 server with a bucket `lake`, for the length of the block."""
    command: list[str | Path] = [
        Path(sys.executable).parent / "moto_server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with started(command, log=folder / "s3.log") as server:
        server.wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/"), "the S3 server does not come up")
        with client(port) as s3:
            s3.create_bucket(Bucket=BUCKET)
        yield


@contextlib.contextmanager
def client(port: int) -> Iterator[Any]:
    """Speak to the server as boto3 does."""
    address = f"http://127.0.0.1:{port}"
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "key"}
    with contextlib.closing(boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)) as made:
        yield made


def settings_of(port: int) -> dict[str, Any]:
    """Return the settings with which a lake reaches the server, but for the address of its files."""
    return {
        "lake_s3_endpoint": f"127.0.0.1:{port}",
        "lake_s3_tls": False,
        "lake_s3_access_key": "id",
        "lake_s3_secret_key": SECRET_KEY,
    }
