"""Check, before a job runs them, that its engine computes the models as export and calibration did.

On a cluster each machine does so, too: processors differ in how they add up products in int8 (docs/decisions/0094).
"""

from __future__ import annotations

from collections.abc import Sequence

from avizor_inference.anomaly.engine_calibration import check_calibration
from avizor_inference.anomaly.p_values import require_alpha
from avizor_inference.engines.base import check_same_digest
from avizor_inference.engines.open_engine import asked_first, engine_options
from avizor_inference.engines.probe_check import check_probe
from avizor_inference.unused_memory import give_back
from avizor_pipeline.models import JobModel, open_job_engine, open_models
from avizor_pipeline.settings import JobSettings


def checked_models(settings: JobSettings) -> list[JobModel]:
    """Load the job's models, check them with its engine, and return them.

    Raises AvizorError if a model cannot be loaded, and what `check_models` raises.
    """
    models = open_models(settings)
    check_models(models, settings)
    return models


def check_models(models: Sequence[JobModel], settings: JobSettings) -> None:
    """Raise AvizorError unless the job can run the models on its engine, as it is on this machine.

    It cannot if the engine serves another one, or computes it otherwise than export did, or if its calibration is too small
    for alpha, or is from an engine with other scores.
    """
    with open_job_engine(settings) as engine, asked_first(settings.engine):
        for model in models:
            check_same_digest(engine.spec(model.name, model.choice.version), model.version)
            if comparable := model.comparable:
                require_alpha(comparable.calibration, settings.alpha, settings.confidence)
                options = engine_options(settings.engine, settings.device)
                check_calibration(engine, model.version, comparable, options)
            else:
                check_probe(engine, model.version)
    give_back()  # what the models needed: workers run them
