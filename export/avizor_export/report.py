"""Print the output of `avizor export`: what was published, how it was proven, and warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.front_ends.build import front_end_of
from avizor_export.precision.accuracy_guard import precision_warnings
from avizor_export.precision.quality import MEASURED, chance_warning, metric_of
from avizor_export.publication.model_card import describe_thresholds
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelVersion
from avizor_inference.repository.reports import ParityReport


def describe_export(version: ModelVersion) -> None:
    """Print what was published and how it was proven, on stdout; warnings go to stderr."""
    manifest = version.manifest
    click.echo(
        f"published {version.folder}: {manifest.task}, {manifest.model_bytes / 1e6:.2f} MB, sha256 {manifest.model_sha256[:12]}"
    )
    if arguments := manifest.provenance.built_with():
        click.echo(f"  built by {manifest.provenance.factory} {arguments}")
    if manifest.is_multi_label:
        click.echo(f"  multi-label: each class has its own probability; {describe_thresholds(manifest)}")
    _describe_parity(manifest.parity)
    if "held_out_items" in manifest.evaluation and manifest.variant is None:
        for metric in (name for name in MEASURED if name in manifest.evaluation):
            items = manifest.evaluation["held_out_items"]
            click.echo(f"  {metric} {manifest.evaluation[metric]:.4f} on {items} held-out items")
    _describe_variant(manifest)
    if calibration := version.calibration():
        _describe_calibration(calibration)
    elif manifest.task == "reconstruct":
        click.echo("  no calibration: scores without p-values; give normal recordings with --calibrate")


def _describe_parity(report: ParityReport) -> None:
    for name, output in report.outputs.items():
        click.echo(
            f"  parity  {name}: {report.compared_with} and ONNX Runtime differ by at most {output.largest_absolute:.1e} "
            f"({output.sample})"
        )
    if report.server:
        worst = max(output.largest_absolute for output in report.server.outputs.values())
        click.echo(f"  parity  through {report.server.address}: by at most {worst:.1e}")


def _describe_calibration(calibration: Calibration) -> None:
    sources = ", ".join(f"{source} {calibration.recordings(source)}" for source in calibration.source_names)
    short = sum(map(len, calibration.short.values()))
    shorter = f", {short} of them shorter than a window" if short else ""
    click.echo(f"  calibration {calibration.id}: {calibration.recordings()} normal recordings ({sources}){shorter}")
    click.echo("  " + _lowest_alphas(calibration))


def _lowest_alphas(calibration: Calibration) -> str:
    """Return from which alpha on the rate is guaranteed, for the sources with the most and the fewest recordings."""
    counts = {source: calibration.count(source, is_short=False) for source in calibration.source_names}
    most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    alphas = f"alpha {_lowest_alpha(counts[most])} on"
    if counts[most] != counts[fewest]:
        alphas += f" for {most}, and from {_lowest_alpha(counts[fewest])} on for {fewest}"
    return f"the false-alarm rate is promised from {alphas} (1 / (n + 1) of n recordings; 0.01 takes 99)"


def _lowest_alpha(recordings: int) -> str:
    """Return 1 / (n + 1), rounded up to two digits: a smaller alpha would be refused."""
    digits = 1 - math.floor(math.log10(1 / (recordings + 1)))
    return f"{math.ceil(10**digits / (recordings + 1)) / 10**digits:.2g}"


def warn_of_front_end(spec: InputSpec) -> None:
    """Print a warning for each thing that is unusual about a front end."""
    for warning in front_end_of(spec).warnings():
        _warn(warning)


def warn_of_shared_data() -> None:
    """Print a warning that normal and labelled data overlap."""
    _warn(
        "--calibrate is a folder within --evaluate-on: the metric is measured on data that the model is calibrated with; "
        "calibrate with other data"
    )


def warn_of_one_window_recordings() -> None:
    """Print a warning that each item of a .npy file counts as a recording."""
    _warn(
        "each item of a .npy file counts as a recording of one window; calibrate with a folder of sound files to judge longer "
        "recordings"
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
