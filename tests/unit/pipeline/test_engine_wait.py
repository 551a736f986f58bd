"""engine_wait.py: what a job says of an engine for which it has waited in vain."""

from __future__ import annotations

import pytest
from unit.inference.test_triton_answers import REQUEST, answer, answering

from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import EngineUnavailable
from avizor_pipeline.engine_wait import EngineWait


def test_of_an_engine_that_answers_with_another_model_a_job_does_not_say_that_it_was_away() -> None:
    with answering(answer("INT32")) as address, TritonEngine(address) as engine, pytest.raises(EngineUnavailable) as caught:
        EngineWait(0.6).answer(lambda: engine.infer(REQUEST))
    assert "output 'y' is INT32[1, 2], and was to be FP32[1, 2]" in str(caught.value)
    kept = "and finished shards are kept: mend that, and run the same command again to go on"
    assert str(caught.value).endswith(f"; that lasted 0.6 s (--engine-wait-s), {kept}")
