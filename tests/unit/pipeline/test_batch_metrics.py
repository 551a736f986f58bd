import prometheus_client
import pytest

from avizor_pipeline.reporting.metrics import BatchMetrics


@pytest.fixture
def fresh_library() -> None:
    """What a process begins with; a gateway that another test has started turns it off for the whole process."""
    prometheus_client.enable_created_metrics()


@pytest.mark.usefixtures("fresh_library")
def test_a_job_shows_no_series_that_nothing_reads() -> None:
    metrics = BatchMetrics()
    for registry in (metrics.running, metrics.ended, metrics.succeeded):
        shown = prometheus_client.generate_latest(registry).decode()
        assert "avizor_batch_" in shown
        assert "_created" not in shown
