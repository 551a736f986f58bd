"""Look at the results of a job on an object store with another client than the job's."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3

from avizor_inference.digests import sha256_of_file


def client() -> Any:
    """A client of the store that the environment names."""
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def names(bucket: str, prefix: str) -> list[str]:
    """What follows the prefix in the name of every object below it."""
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    return [each["Key"].removeprefix(f"{prefix}/") for page in pages for each in page.get("Contents", [])]


def digests(bucket: str, prefix: str) -> dict[str, str]:
    """The sha256 of every object below a prefix but the summary, which holds a time."""
    return {
        name: sha256(client().get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read()).hexdigest()
        for name in names(bucket, prefix)
        if name != "summary.json"
    }


def digests_on_disk(folder: Path) -> dict[str, str]:
    """The same of a folder; a lock stays there, and means nothing."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: sha256_of_file(path) for name, path in files.items() if name not in ("summary.json", "job.lock")}


def copy(bucket: str, prefix: str, to: str) -> None:
    """Make the objects below one prefix those below another one."""
    for name in names(bucket, to):
        client().delete_object(Bucket=bucket, Key=f"{to}/{name}")
    for name in names(bucket, prefix) if prefix else ():
        client().copy_object(Bucket=bucket, Key=f"{to}/{name}", CopySource={"Bucket": bucket, "Key": f"{prefix}/{name}"})
