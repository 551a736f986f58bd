"""Publish or tune as often as standard input says, and die each time at the given event; torch is not loaded.

    python killed_publisher.py SOURCE MODELS

SOURCE: a published version's folder, whose files are published as the next version of the same name. For each line `publish K`
or `tune K` on standard input a child begins to do so, and kills itself just before the K-th event that Python audits in it
(opening a file, making, renaming or removing a file or folder, ...); 0 lets it finish. `tune` writes one thread more than
before into config.pbtxt. The answer is how the child ended: 0, or -9 if it was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from avizor_export.triton_config.config_pbtxt import generated_config, published_settings
from avizor_export.triton_config.overrides import read_overrides
from avizor_export.tuning.candidates import Candidate
from avizor_export.tuning.save import write_tuned
from avizor_inference.repository.manifest import MANIFEST_FILE, Manifest
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.publication import earlier_digests, publish, staging
from avizor_inference.repository.triton_config import CONFIG_FILE


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
        settings, overrides = published_settings(models, manifest.name), read_overrides(models / manifest.name)
        (stage.model_folder / CONFIG_FILE).write_text(generated_config(manifest, settings, digests, overrides))
        (stage.model_folder / "labels.txt").write_text("\n".join(manifest.labels or ()) + "\n")
        publish(stage, models)


def tune_again(source: Path, models: Path) -> None:
    """Write a candidate into config.pbtxt, as `avizor tune` does with the one that it chose."""
    version = ModelRepository(models).version(source.parent.name)
    threads = published_settings(models, version.name).intra_op_threads or 0
    write_tuned(models, version, Candidate(instances=1, threads=threads + 1, batch=8, clients=1))


def main() -> None:
    source, models = map(Path, sys.argv[1:])
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            what, number = line.split()
            if int(number):
                die_at(int(number))
            {"publish": publish_next, "tune": tune_again}[what](source, models)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
