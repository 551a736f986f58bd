"""The serving options of `avizor export` and config.overrides.pbtxt keep their effect from version to version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from avizor_export.cli import export
from avizor_export.triton_config.config_pbtxt import published_settings
from avizor_export.triton_config.settings import ServingSettings, serving_of
from avizor_inference.checks.check_version import check_model
from avizor_inference.errors import ExportError
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import OVERRIDES_FILE, read_config


def test_the_options_of_export_land_in_the_config_and_stay_for_the_next_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    arguments = [
        "avizor_export.architectures.lenet:LeNet", "--set", "classes=3", "--weights-in-factory",
        "--name", "m", "--task", "classify",
        "--input", "image:height=32,width=32,channels=1", "--labels", str(tmp_path / "labels.txt"),
        "--models", str(tmp_path / "models"),
    ]  # fmt: skip
    options = [
        "--target", "cpu", "--max-batch-size", "16", "--preferred-batch-size", "8", "--preferred-batch-size", "4",
        "--instances", "2", "--queue-delay-us", "0", "--max-queue-size", "50", "--queue-timeout-ms", "20",
        "--queue-timeout-action", "delay", "--response-cache", "--threads", "1",
    ]  # fmt: skip
    wanted = ServingSettings(
        target="cpu",
        max_batch_size=16,
        preferred_batch_sizes=(4, 8),
        instances=2,
        queue_delay_us=0,
        max_queue_size=50,
        queue_timeout_ms=20,
        queue_timeout_action="delay",
        response_cache=True,
        intra_op_threads=1,
    )
    CliRunner().invoke(export, [*arguments, *options], catch_exceptions=False)
    assert serving_of(read_config(tmp_path / "models/m/config.pbtxt")) == wanted
    with pytest.raises(ExportError, match="preferred batch size 8 is over max_batch_size 6"):
        export.main([*arguments, "--max-batch-size", "6", "--preferred-batch-size", "8"], standalone_mode=False)
    assert ModelRepository(tmp_path / "models").versions("m") == [1]
    # Overrides are merged over what the options ask for; a size that no longer fits is dropped.
    folder = tmp_path / "models/m"
    overrides = "version_policy { specific { versions: [ 1 ] } }"
    (folder / OVERRIDES_FILE).write_text(overrides)
    CliRunner().invoke(export, [*arguments, "--no-response-cache", "--max-batch-size", "6"], catch_exceptions=False)
    assert ModelRepository(tmp_path / "models").versions("m") == [1, 2]
    smaller = replace(wanted, response_cache=False, max_batch_size=6, preferred_batch_sizes=(4,))
    assert published_settings(tmp_path / "models", "m") == smaller
    assert read_config(folder / "config.pbtxt").version_policy.specific.versions == [1]
    assert (folder / OVERRIDES_FILE).read_text() == overrides
    assert "preferred batch sizes over the new max_batch_size 6 were dropped: 8" in caplog.text
    assert "config.pbtxt: version_policy does not serve version 2" in caplog.text
    assert check_model(ModelRepository(tmp_path / "models"), "m") == []
    # An override that the check of the version refuses is named, and with it the file to correct.
    (folder / OVERRIDES_FILE).write_text("instance_group [ { kind: KIND_CPU, count: 2, gpus: [ 0 ] } ]")
    with pytest.raises(
        ExportError, match=r"names gpus.*models/m/config\.overrides\.pbtxt is merged .*: correct it, or delete it"
    ):
        export.main(arguments, standalone_mode=False)
    (folder / OVERRIDES_FILE).unlink()
    # An edit of the generated file is refused and stays; without the file the defaults are taken.
    (folder / "config.pbtxt").write_text(edited := (folder / "config.pbtxt").read_text().replace("count: 2", "count: 3"))
    with pytest.raises(ExportError, match=r"count: 3 .*' instead of .*Move your edit to config\.overrides\.pbtxt"):
        export.main(arguments, standalone_mode=False)
    assert (folder / "config.pbtxt").read_text() == edited
    (folder / "config.pbtxt").unlink()
    CliRunner().invoke(export, arguments, catch_exceptions=False)
    assert published_settings(tmp_path / "models", "m") == ServingSettings()
    assert check_model(ModelRepository(tmp_path / "models"), "m") == []
