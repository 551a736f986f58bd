"""A process that publishes a version as often as it is told to, and each time dies where it is told to; torch is not loaded.

    python killed_publisher.py SOURCE MODELS

SOURCE: a published version's folder, whose files are published as the next version of the same name. For each number k on
standard input a child begins to publish, and kills itself just before the k-th event of its that Python audits (opening a file,
making, renaming or removing a file or folder, ...); 0 lets it finish. The answer is how it ended: 0, or -9 if it was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from google.protobuf import text_format

from avizor_export.publication.publish import earlier_digests, publish, staging
from avizor_inference.repository.manifest import MANIFEST_FILE, Manifest
from avizor_inference.repository.triton_config import CONFIG_FILE, digest_parameter, read_config


def die_at(number: int) -> None:
    """Kill this process at its `number`-th audited event from now on."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def publish_next(source: Path, models: Path) -> None:
    """Stage and publish the version in `source` again, as export does with one that it has made."""
    manifest = Manifest.read(source / MANIFEST_FILE)
    with staging(models, manifest.name) as stage:
        shutil.copytree(source, stage.version_folder, dirs_exist_ok=True)
        manifest = manifest.model_copy(update={"version": stage.version})
        (stage.version_folder / MANIFEST_FILE).write_text(manifest.to_json())
        digests = earlier_digests(models, manifest.name) | {stage.version: manifest.model_sha256}
        config = read_config(source.parent / CONFIG_FILE)
        for version, digest in digests.items():
            config.parameters[digest_parameter(version)].string_value = digest
        (stage.model_folder / CONFIG_FILE).write_text(text_format.MessageToString(config))
        (stage.model_folder / "labels.txt").write_text("\n".join(manifest.labels or ()) + "\n")
        publish(stage, models)


def main() -> None:
    source, models = map(Path, sys.argv[1:])
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            if int(line):
                die_at(int(line))
            publish_next(source, models)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
