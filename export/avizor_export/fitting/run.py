"""Fit a detector as it was planned, and publish it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue
from torch import nn

from avizor_export.exporter import export_model
from avizor_export.fitting.cross_fitting import cross_fit
from avizor_export.fitting.detector import fit_detector, request_for
from avizor_export.fitting.plan import Plan
from avizor_export.fitting.progress import training_progress
from avizor_export.request import ExportRequest
from avizor_inference.repository.manifest import FITTED
from avizor_inference.repository.models import ModelVersion


def fit_and_publish(plan: Plan, name: str, models: Path) -> ModelVersion:
    """Train, prove, calibrate and publish."""
    request, detector = _split(plan, name) if plan.parts else _crossed(plan, name)
    arguments: dict[str, JsonValue] = {"spec": plan.recipe.spec, "most_steps": plan.recipe.most_steps, "seed": plan.recipe.seed}
    request = replace(request, factory=FITTED, arguments=arguments)
    return export_model(detector, request, models)


def _split(plan: Plan, name: str) -> tuple[ExportRequest, nn.Module]:
    assert plan.parts
    with training_progress("train") as progress:
        fitted = fit_detector(plan.items, plan.parts.training, plan.parts.stopping, plan.recipe, progress)
    request = request_for(name, fitted, plan.items, plan.parts.calibration, plan.record())
    normal = plan.items.recordings(plan.parts.calibration, fitted.input)
    return replace(request, normal=normal), fitted.detector


def _crossed(plan: Plan, name: str) -> tuple[ExportRequest, nn.Module]:
    assert plan.folds
    with training_progress("train", len(plan.folds.folds)) as progress:
        crossed = cross_fit(plan.items, plan.folds, plan.recipe, progress)
    request = request_for(name, crossed.fitted, plan.items, plan.calibrating, plan.record())
    return replace(request, scored=crossed.scored), crossed.fitted.detector
