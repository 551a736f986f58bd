"""Write card.md, which describes one version to people: metrics, layers and plots. Programs read the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from pydantic import JsonValue

from avizor_export.description.graph_layers import layers_of
from avizor_export.description.stored_weights import model_from_proto
from avizor_export.description.table import layer_table, unexplained_parameters
from avizor_export.front_ends.build import front_end_of
from avizor_export.parity.constant_outputs import constant_outputs_warning
from avizor_export.parity.tolerances import allowed, root_of
from avizor_export.precision.accuracy_guard import precision_warnings
from avizor_inference.anomaly.calibration_text import cross_fitted_note
from avizor_inference.anomaly.item_score import item_scores
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelVersion

CARD_FILE = "card.md"
CALIBRATION_PLOT = "card-calibration.png"
TRAINING_PLOT = "card-training.png"


def write_card(version: ModelVersion, proto: onnx.ModelProto, training: Mapping[str, Sequence[float]]) -> None:
    """Write card.md and its plots into the version's folder. training: numbers by epoch; empty if they are not known."""
    manifest, calibrations = version.manifest, version.calibrations()
    parts = [*_facts(manifest), *_front_end(manifest), *_parity(manifest), *_precision(manifest), *_evaluation(manifest)]
    if training:
        _plot_training(version.folder / TRAINING_PLOT, training)
        parts += ["## Training", "", f"![by epoch]({TRAINING_PLOT})", ""]
    for calibration in calibrations:
        _plot_calibration(version.folder / CALIBRATION_PLOT, calibration)
        parts += [*_calibration(calibration), f"![scores of normal items]({CALIBRATION_PLOT})", ""]
    parts += _filters(manifest)
    parts += _layers(proto, manifest.provenance.parameters)
    (version.folder / CARD_FILE).write_text("\n".join(parts), encoding="utf-8")


def _facts(manifest: Manifest) -> Iterator[str]:
    tensor, provenance = manifest.input.tensor(), manifest.provenance
    yield from (f"# {manifest.name}, version {manifest.version}", "")
    yield f"* task: {manifest.task}, on {manifest.input.modality}"
    yield f"* input: `{tensor.name}` {tensor.dtype}[batch, {', '.join(map(str, tensor.item_shape))}]: {tensor.meaning}"
    if preparation := manifest.input.preparation():
        yield f"* {preparation}"
    if format := manifest.input.window_format():
        rate = format.sample_rate
        window, hop = (
            f"{samples} samples{f' ({samples / rate:.4g} s)' if rate else ''}" for samples in (format.window, format.hop)
        )
        yield f"* recordings are cut into windows of {window}, one every {hop}"
    for output in manifest.outputs:
        yield f"* output: `{output.name}` {output.dtype}[batch, {', '.join(map(str, output.item_shape))}]: {output.meaning}"
    if manifest.labels:
        shown = ", ".join(manifest.labels[:20])
        yield f"* {len(manifest.labels)} labels: {shown}{', ...' if len(manifest.labels) > 20 else ''}"
    if manifest.is_multi_label:
        yield f"* multi-label: any number of classes may be right; {describe_thresholds(manifest)}"
    size = f"{manifest.model_bytes / 1e6:.2f} MB"
    yield f"* {provenance.parameters:,} parameters in {manifest.precision}, {size}, opset {manifest.opset}"
    if not manifest.simplified and manifest.parity.compared_with.startswith("torch"):
        yield "* not simplified: the exporter's optimiser changed the outputs of the graph"
    yield f"* sha256 `{manifest.model_sha256}`"
    built = f" {provenance.built_with()}" if provenance.arguments else ""
    yield f"* made {provenance.created:%Y-%m-%d %H:%M} UTC from `{provenance.factory}`{built}" + (
        f", weights sha256 `{provenance.weights_sha256}`" if provenance.weights_sha256 else ""
    )
    yield "* with " + ", ".join(f"{name} {number}" for name, number in provenance.producers.items())
    yield ""


def describe_thresholds(manifest: Manifest) -> str:
    """Return from which probability on the classes of a multi-label model count as present."""
    thresholds, labels = manifest.thresholds, manifest.labels or ()
    if len(set(thresholds)) == 1:
        return f"a class counts as present from {thresholds[0]:g} on"
    shown = ", ".join(f"{label} {threshold:g}" for label, threshold in list(zip(labels, thresholds, strict=True))[:20])
    return f"classes count as present from these probabilities on: {shown}{', ...' if len(labels) > 20 else ''}"


def _front_end(manifest: Manifest) -> Iterator[str]:
    if rows := front_end_of(manifest.input).table():
        yield from ("## Front end", "", "Inside the graph, in FP32.", "", _row(*rows[0]), "|" + "---|" * len(rows[0]))
        yield from (_row(*row) for row in rows[1:])
        yield ""


def _parity(manifest: Manifest) -> Iterator[str]:
    report = manifest.parity
    yield from ("## Parity", "")
    batches, samples = ", ".join(map(str, report.batch_sizes)), ", ".join(report.samples)
    yield f"Compared with {report.compared_with} on batches of {batches} of {samples} items."
    yield from ("", "| output | largest difference | seen on | allowed |", "|---|---:|---|---|")
    for name, output in report.outputs.items():
        yield f"| {name} | {output.largest_absolute:.1e} | {output.sample} | {allowed(name)} |"
    if report.server:
        for name, output in report.server.outputs.items():
            yield f"| {name}, through {report.server.address} | {output.largest_absolute:.1e} | {output.sample} | the same |"
    yield ""
    if report.own_rounding and not manifest.precision_of_file:
        allowance = ", ".join(f"{root_of(name)} by {noise:.1e}" for name, noise in report.own_rounding.items())
        yield from (f"Quiet bands beside loud ones round in the front end: for that, more was allowed of {allowance}.", "")
    if report.same_for_all:
        yield from (f"Note: {constant_outputs_warning(report.same_for_all, 'real' in report.samples)}.", "")
    for prefix, agreement in (("", report), ("Through the server: ", report.server)):
        if agreement is None:
            continue
        if agreement.top1_agreement is not None:
            yield from (f"{prefix}Most probable class the same on {agreement.top1_agreement:.1%} of the items.", "")
        if agreement.rank_correlation is not None:
            yield from (f"{prefix}Rank correlation of the scores {agreement.rank_correlation:.6f}.", "")


def _precision(manifest: Manifest) -> Iterator[str]:
    variant = manifest.variant
    if manifest.precision_of_file:
        yield from (f"## Precision: {manifest.precision}", "")
        yield f"The file came in {manifest.precision}. There is no FP32 network to compare it with: parity is that of the file."
        yield from ("Front end, softmax and reconstruction error are in FP32.", "")
        for name, noise in manifest.parity.own_rounding.items():
            yield f"* its own rounding changes {root_of(name)} by up to {noise:.1e}, and that much more was allowed"
        yield ""
    if variant is None:
        return
    yield from (f"## Precision: {manifest.precision}", "")
    yield f"The network is in {manifest.precision}; front end, softmax and reconstruction error are in FP32. It was made from"
    yield f"the FP32 graph of sha256 `{variant.fp32_sha256}` ({variant.fp32_bytes / 1e6:.2f} MB), whose parity is above."
    metric = "ROC AUC" if variant.metric == "roc_auc" else variant.metric.replace("_", " ")
    yield from ("", f"On {variant.items} held-out items, {metric} went from {variant.before:.4f} to {variant.after:.4f}")
    yield f"(a drop of up to {variant.max_drop:g} was allowed)."
    if variant.server:
        yield f"Through {variant.server.address} it is {variant.server.after:.4f}."
    if variant.top1_agreement is not None:
        yield f"The most probable class is the same on {variant.top1_agreement:.1%} of them."
    if variant.rank_correlation is not None:
        yield f"The rank correlation of the scores is {variant.rank_correlation:.4f}."
    yield from ("", "| output | largest difference to FP32 | on item | rms / standard deviation |", "|---|---:|---:|---:|")
    for name, output in variant.outputs.items():
        share = "-" if output.share is None else f"{output.share:.3f}"
        yield f"| {name} | {output.largest_absolute:.1e} | {output.item} | {share} |"
    yield from ("", "| rows/s, one thread | fp32 | " + manifest.precision + " | ratio |", "|---|---:|---:|---:|")
    for speed in variant.speed:
        yield (
            f"| batch of {speed.batch_size} | {speed.before:,.0f} | {speed.after:,.0f} "
            f"| {speed.ratio:.2f} ({speed.lowest_ratio:.2f} to {speed.highest_ratio:.2f}) |"
        )
    yield ""
    for warning in precision_warnings(manifest):
        yield from (f"Note: {warning}.", "")
    yield from ("| setting | value |", "|---|---|")
    yield from _rows(variant.settings)
    yield ""


def _evaluation(manifest: Manifest) -> Iterator[str]:
    if manifest.evaluation:
        yield from ("## Evaluation", "", "| metric | value |", "|---|---|")
        yield from _rows(manifest.evaluation)
        yield ""


def _calibration(calibration: Calibration) -> Iterator[str]:
    yield from ("## Calibration", "")
    sources = ", ".join(f"{source} ({calibration.recordings(source)})" for source in calibration.source_names)
    yield f"`{calibration.id}`, {calibration.created:%Y-%m-%d}: {calibration.recordings()} normal items from {sources}."
    yield f"Their scores are those of {calibration.kind}."
    if short := sum(map(len, calibration.short.values())):
        yield f"{short} of them are shorter than the model's window, and are calibrated separately."
    if note := cross_fitted_note(calibration):
        yield f"C{note[1:]} (docs/fit.md)."
    yield ""


def _filters(manifest: Manifest) -> Iterator[str]:
    if (noise := manifest.filter_noise) is None:
        return
    yield from ("## Filters", "")
    if noise.share is None:
        yield from (f"Whether the network has learned anything cannot be told from its filters: {noise.not_judged}.", "")
        return
    first, share = next(iter(noise.layers.items()))
    yield f"Noise: {noise.share:.0%} of {noise.filters} filters in {len(noise.layers)} layers look like fresh weights; of layer"
    yield f"`{first}`, {share:.0%}. The probability that fresh weights look so is {noise.p_value:.2g}."
    yield f"`avizor explain filters {manifest.name}` draws them."
    yield ""
    if noise.warning:
        yield from (f"Warning: {noise.warning}.", "")


def _layers(proto: onnx.ModelProto, parameters: int) -> Iterator[str]:
    layers = layers_of(model_from_proto(proto))
    rows = layer_table(layers, parameters)
    yield from ("## Layers", "")
    yield _row(*rows[0])
    yield "|---|---|---|---|---:|---:|---:|"
    yield from (_row(*row) for row in rows[1:])
    yield ""
    if explanation := unexplained_parameters(layers, parameters):
        yield from (explanation, "")


def _rows(metrics: Mapping[str, JsonValue], prefix: str = "") -> Iterator[str]:
    """Yield a row for each metric; one within an object is named after it: `roc_auc: bearing`."""
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{name}: ")
        else:
            yield _row(prefix + name, _shown(value))


def _shown(value: JsonValue) -> str:
    """Return a metric as people write it."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(entry)}" for name, entry in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)


def _row(*cells: str) -> str:
    """Return a row of a table. Line breaks and bars in the cells are replaced, since they would end a cell."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"


def _plot_training(path: Path, training: Mapping[str, Sequence[float]]) -> None:
    from matplotlib.figure import Figure  # slow to import, and not every model has a plot

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for name, values in training.items():
        axes.plot(range(1, len(values) + 1), values, marker=".", label=name)  # markers, since a line of one epoch is invisible
    axes.set_xlabel("epoch")
    axes.legend()
    figure.savefig(path, dpi=100)


def _plot_calibration(path: Path, calibration: Calibration) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    short = ((f"{source}, short", recordings) for source, recordings in calibration.short.items())
    for label, recordings in [*calibration.sources.items(), *short][:10]:
        scores = sorted(item_scores(recordings))
        axes.plot(scores, [(rank + 1) / len(scores) for rank in range(len(scores))], label=label, drawstyle="steps-post")
    axes.set_xlabel("score of a recording")
    axes.set_ylabel("share of items")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)
