"""What `avizor export` prints: what was published, how it was proven, and what to be careful about."""

from __future__ import annotations

from collections.abc import Sequence

import click

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.precision.guard import precision_warnings
from avizor_export.precision.quality import METRIC_OF, beside_chance
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelVersion


def describe_export(version: ModelVersion) -> None:
    """Print what was published and how it was proven."""
    manifest, calibration = version.manifest, version.calibration()
    click.echo(
        f"published {version.folder}: {manifest.task}, {manifest.model_bytes / 1e6:.2f} MB, sha256 {manifest.model_sha256[:12]}"
    )
    if made := manifest.provenance.built_with():
        click.echo(f"  built by {manifest.provenance.factory} {made}")
    reference = manifest.parity.compared_with
    for name, output in manifest.parity.outputs.items():
        click.echo(
            f"  parity  {name}: {reference} and ONNX Runtime differ by at most {output.largest_absolute:.1e} ({output.sample})"
        )
    if manifest.parity.server:
        worst = max(output.largest_absolute for output in manifest.parity.server.outputs.values())
        click.echo(f"  parity  through {manifest.parity.server.address}: by at most {worst:.1e}")
    if "held_out_items" in manifest.evaluation and manifest.variant is None:
        metric = METRIC_OF[manifest.task]
        click.echo(f"  {metric} {manifest.evaluation[metric]:.4f} on {manifest.evaluation['held_out_items']} held-out items")
    _describe_variant(manifest)
    if calibration:
        sources = ", ".join(f"{source} {calibration.recordings(source)}" for source in calibration.source_names)
        short = sum(map(len, calibration.short.values()))
        shorter = f", {short} of them shorter than a window" if short else ""
        click.echo(f"  calibration {calibration.id}: {calibration.recordings()} normal recordings ({sources}){shorter}")
        click.echo("  " + _least_alphas(calibration))
    elif manifest.task == "reconstruct":
        click.echo("  no calibration: scores without p-values; give normal recordings with --calibrate")


def _least_alphas(calibration: Calibration) -> str:
    """From which alpha on the promise holds, for the sources with the most and with the fewest recordings."""
    counts = {source: calibration.count(source, is_short=False) for source in calibration.source_names}
    most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    named = f"alpha {1 / (counts[most] + 1):.2g} on"
    if counts[most] != counts[fewest]:
        named += f" for {most}, and from {1 / (counts[fewest] + 1):.2g} on for {fewest}"
    return f"the false-alarm rate is promised from {named} (1 / (n + 1) of n recordings; 0.01 takes 99)"


def note_missing_taps(manifest: Manifest, source: str, left_out: Sequence[str]) -> None:
    """A program or a graph has no layers whose values could be tapped, and a module may keep them where they are not found."""
    given = {*left_out, *(output.name for output in manifest.outputs)}
    wanted = ["embedding"]
    if source.endswith(".onnx"):
        how = "give the file outputs that are named so"
    elif source.endswith(".pt2"):
        how = "export the torch module itself"
    elif manifest.task == "reconstruct":
        how = "keep what gives the latent vector as the module's attribute `encoder`, and let it return that one tensor"
    else:
        how = "end the module in an nn.Linear that takes a row for each item, and not the items themselves"
    if manifest.task == "classify" and source.endswith((".onnx", ".pt2")):
        wanted.append("activations")
    if missing := [name for name in wanted if name not in given]:
        click.echo(f"Note: the version has no {' and no '.join(missing)}; {how}, to have {_them(missing)}.", err=True)


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def warn_of_chance(manifest: Manifest, held_out: LabelledItems) -> None:
    """Say so where the network tells apart nothing, or the labels say the opposite of what it says."""
    reached = manifest.evaluation[METRIC_OF[manifest.task]]
    if isinstance(reached, float) and (said := beside_chance(manifest.task, reached, held_out.labels)):
        click.echo(f"Warning: {said}.", err=True)


def _describe_variant(manifest: Manifest) -> None:
    variant = manifest.variant
    if not manifest.simplified and manifest.parity.compared_with.startswith("torch"):
        click.echo("Note: the exporter's optimiser changed what the graph gives; it was exported without.", err=True)
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
    for said in precision_warnings(manifest):
        click.echo(f"Warning: {said}.", err=True)
