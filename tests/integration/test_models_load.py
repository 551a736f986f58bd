"""`avizor models load` and `rollback`: what is chosen is proven, lasts, and takes over without a failed call."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from integration.gateway import gateway
from integration.test_change import Callers
from support.versioned_model import write_version
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_inference.cli import models as command
from avizor_inference.repository.models import ModelRepository


def run(own: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [*words, "--models", str(own)])


def test_a_rollback_under_load_and_the_way_forward_again(tmp_path: Path) -> None:
    write_version(tmp_path, "v", 1)
    write_version(tmp_path, "v", 2)
    with gateway(tmp_path, "--scan-s", 0.2) as running:
        callers = Callers(running)
        callers.until(2)
        result = run(tmp_path, "rollback", "v")
        assert result.exit_code == 0, result.output
        callers.until(1)
        assert ModelRepository(tmp_path).served("v").version == 1, "a restart serves the same"
        assert run(tmp_path, "load", "v").exit_code == 0
        assert ModelRepository(tmp_path).served("v").version == 2
        assert set(callers.stop()) == {1, 2}
    assert run(tmp_path, "rollback", "v").exit_code == 0
    assert "no version before 1" in str(run(tmp_path, "rollback", "v").exception)


def test_on_triton_a_version_that_computes_something_else_never_answers_and_a_rollback_lasts(
    tmp_path: Path, triton_install: TritonInstall
) -> None:
    own = tmp_path / "models"
    write_version(own, "v", 1)
    with TritonServer(triton_install, own) as server:
        engine = f"triton://{server.grpc_url}"
        with gateway(own, "--engine", engine, "--scan-s", 0.5) as running:
            callers = Callers(running)
            callers.until(1)
            write_version(own, "v", 2)
            result = run(own, "load", "v", "--engine", engine)
            assert result.exit_code == 0, result.exception
            callers.until(2)
            write_version(own, "v", 3, probe_of=9)
            refused = run(own, "load", "v", "--engine", engine)
            assert "is not computed as at export" in str(refused.exception)
            assert ModelRepository(own).served("v").version == 2, "a restart serves what is served"
            before = callers.ended[1]
            assert run(own, "rollback", "v", "--engine", engine).exit_code == 0
            assert ModelRepository(own).served("v").version == 1
            while callers.ended[1] == before:
                pass
            assert set(callers.stop()) == {1, 2}


def test_a_bad_model_on_triton_does_not_stop_the_others(tmp_path: Path, triton_install: TritonInstall) -> None:
    """With the options of the compose file."""
    own = tmp_path / "models"
    write_version(own, "v", 1)
    (write_version(own, "bad", 1) / "model.onnx").write_bytes(b"junk")
    (own / "lost+found").mkdir()
    with (
        TritonServer(triton_install, own, extra_args=["--exit-on-error=false", "--strict-readiness=false"]) as server,
        gateway(own, "--engine", f"triton://{server.grpc_url}", "--scan-s", 0.2) as running,
    ):
        callers = Callers(running)
        callers.until(1)
        assert set(callers.stop()) == {1}
        assert running.metrics()['avizor_model_up{model="bad"}'] == 0
