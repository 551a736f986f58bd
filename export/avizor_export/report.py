"""Print the output of `avizor export`: what was published, how it was proven, and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import click

from avizor_export.architectures.spec_grammar import reconstructs
from avizor_export.data.labelled_items import LabelledItems
from avizor_export.front_ends.build import front_end_of
from avizor_export.graph.output_meanings import DECIDES
from avizor_export.parity.tolerances import root_of
from avizor_export.precision.accuracy_guard import precision_warnings
from avizor_export.precision.quality import MEASURED, chance_warning, metric_of
from avizor_export.publication.model_card import describe_thresholds
from avizor_inference.anomaly.calibration_text import cross_fitted_note, describe_calibration
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.short_form import pairs_of
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelVersion
from avizor_inference.repository.reports import ParityReport


def describe_fit(version: ModelVersion) -> None:
    """Print what `avizor fit` published, and how it was proven, in a few lines: the model card has all of them."""
    manifest = version.manifest
    _say_published(version)
    _say_what_decides(manifest)
    outputs, of = manifest.parity.outputs.values(), manifest.parity.compared_with
    largest = max(output.largest_absolute for output in outputs)
    share = max(output.share_of_allowed or 0.0 for output in outputs)
    click.echo(
        f"  proven: outputs are those of {of}, but for at most {largest:.1e}, {share:.0%} of what is allowed; see card.md"
    )
    for calibration in version.calibrations():
        first, *_ = describe_calibration(calibration)
        for line in filter(None, (first, cross_fitted_note(calibration))):
            click.echo(f"  {line}")


def describe_export(version: ModelVersion) -> None:
    """Print what was published and how it was proven, on stdout; warnings go to stderr."""
    manifest = version.manifest
    _say_published(version)
    if arguments := manifest.provenance.built_with():
        click.echo(f"  built by {manifest.provenance.factory} {arguments}")
    if manifest.is_multi_label:
        click.echo(f"  multi-label: each class has its own probability; {describe_thresholds(manifest)}")
    _say_what_decides(manifest)
    _describe_parity(manifest.parity)
    if "held_out_items" in manifest.evaluation and manifest.variant is None:
        for metric in (name for name in MEASURED if name in manifest.evaluation):
            items = manifest.evaluation["held_out_items"]
            click.echo(f"  {metric} {manifest.evaluation[metric]:.4f} on {items} held-out items")
    _describe_variant(manifest)
    calibrations = version.calibrations()
    for calibration in calibrations:
        for line in describe_calibration(calibration):
            click.echo(f"  {line}")
    if not calibrations and manifest.task == "reconstruct":
        click.echo(f"  no calibration, so there are no p-values; make one of normal items: {version.calibrate_command()}")


def _say_published(version: ModelVersion) -> None:
    manifest = version.manifest
    click.echo(
        f"published {version.folder}: {manifest.task}, {manifest.model_bytes / 1e6:.2f} MB, sha256 {manifest.model_sha256[:12]}"
    )


def _say_what_decides(manifest: Manifest) -> None:
    for output in manifest.outputs:
        if output.meaning.startswith(DECIDES):
            click.echo(f"  {output.name} {output.meaning}")


def _describe_parity(report: ParityReport) -> None:
    for name, output in report.outputs.items():
        click.echo(
            f"  parity  {name}: {report.compared_with} and ONNX Runtime differ by at most {output.largest_absolute:.1e} "
            f"({output.sample})"
        )
    if report.server:
        worst = max(output.largest_absolute for output in report.server.outputs.values())
        click.echo(f"  parity  through {report.server.address}: by at most {worst:.1e}")


def warn_of_front_end(spec: InputSpec) -> None:
    """Print a warning for each thing that is unusual about a front end."""
    for warning in front_end_of(spec).warnings():
        _warn(warning)


def note_own_input(spec: InputSpec) -> None:
    """Print the input that the network's own configuration describes."""
    _note(f"without --input the network's own is taken: {spec.modality}:{pairs_of(spec)}")


def warn_of_shared_data() -> None:
    """Print a warning that normal and labelled data overlap."""
    _warn(
        "--calibrate is a folder within --evaluate-on: the metric is measured on data that the model is calibrated with; "
        "calibrate with other data"
    )


def note_missing_real_items() -> None:
    """Print a note that parity was not checked on real items."""
    _note("no real items were given (--items): parity is checked on zeros and random items only")


def note_missing_taps(manifest: Manifest, network: str, left_out: Sequence[str]) -> None:
    """Print which optional outputs the version lacks without --leave-out, and how to have them.

    network: the command's argument. A .pt2 program or a graph has no layers whose values could be tapped, and export may not
    find the layers of a module.
    """
    existing = {*left_out, *(output.name for output in manifest.outputs)}
    expected = ["embedding"]
    if network.endswith(".onnx"):
        remedy = "give the file outputs that are named so, or name a value with --embedding"
    elif network.endswith(".pt2"):
        remedy = "export the torch module itself"
    elif reconstructs(network):  # a spec for super-resolution: those of autoencoders have an encoder
        remedy = "super-resolution has no latent vector: name a layer that `avizor describe` lists with --embedding"
    elif manifest.task == "reconstruct":
        remedy = (
            "keep the part that returns the latent vector as the attribute `encoder`, and let it return only that tensor, or "
            "name its layer with --embedding"
        )
    else:
        remedy = "name a layer with --embedding, or end the module in an nn.Linear that takes a row for each item"
    if manifest.task == "classify" and network.endswith((".onnx", ".pt2")):
        expected.append("activations")
    if missing := [name for name in expected if name not in existing]:
        pronoun = "it" if len(missing) == 1 else "them"
        _note(f"the version has no {' and no '.join(missing)}; {remedy}, to have {pronoun}")


def warn_of_chance(manifest: Manifest, held_out: LabelledItems) -> None:
    """Print a warning if the metric is no better than chance, or far below it: then the labels may be swapped."""
    reached = manifest.evaluation[metric_of(manifest.task, held_out.labels)]
    if isinstance(reached, float) and (warning := chance_warning(manifest.task, reached, held_out.labels)):
        _warn(warning)


def _describe_variant(manifest: Manifest) -> None:
    variant = manifest.variant
    if not manifest.simplified and manifest.parity.compared_with.startswith("torch"):
        _note("the exporter's optimiser changed the outputs of the graph; it was exported without")
    if manifest.precision_of_file:
        noise = ", ".join(f"{root_of(name)} by up to {value:.1e}" for name, value in manifest.parity.own_rounding.items())
        click.echo(f"  {manifest.precision}, as the file came" + (f": its own rounding changes {noise}" if noise else ""))
    if variant is None:
        return
    click.echo(
        f"  {manifest.precision}: {variant.metric} {variant.before:.4f} to {variant.after:.4f} on {variant.items} held-out "
        f"items, {variant.fp32_bytes / 1e6:.2f} to {manifest.model_bytes / 1e6:.2f} MB"
    )
    for speed in variant.speed:
        click.echo(
            f"  {manifest.precision}: {speed.ratio:.2f} times fp32's rows/s at batch {speed.batch_size}, one thread "
            f"({speed.lowest_ratio:.2f} to {speed.highest_ratio:.2f})"
        )
    for warning in precision_warnings(manifest):
        _warn(warning)


def _warn(warning: str) -> None:
    click.echo(f"Warning: {warning}.", err=True)


def _note(note: str) -> None:
    click.echo(f"Note: {note}.", err=True)
