"""Define `avizor export`: the command line. What it does is in export_command.py, which loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from avizor_export.export_arguments import ExportArguments
from avizor_export.graph.optional_outputs import OPTIONAL
from avizor_export.networks.factory_arguments import parse_settings
from avizor_export.progress import show_stages
from avizor_export.triton_config.cli_options import serving_options
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.engines.ort_installed import require_onnxruntime
from avizor_inference.finite_range import FiniteRange
from avizor_inference.slow_imports import slow_imports
from avizor_inference.source_options import DataPath, source_options

_path = click.Path(path_type=Path)

_GROUPS = {
    "Output": ("name", "models", "leave_out"),
    "Input": ("task", "input", "labels", "weights", "weights_key", "weights_in_factory", "settings", "free_batch", "fit_on"),
    "What the network returns": ("output", "activation", "thresholds", "embedding"),
    "Proof": ("items", "verify_with", "evaluate_on", "evaluation", "training"),
    "Calibration (reconstruct)": ("calibrate", "source_pattern", "source_column"),
    "Data (of all options that name some)": ("path_column", "bytes_column", "channels", "limit"),
    "Precision": ("int8", "fp16", "max_drop"),
    "Serving (kept from the version before, unless given)": tuple(ServingOptions.__annotations__),
}

_EXAMPLES = """\b
Examples:
  avizor export mynet:net --weights net.pt --name digits --task classify \\
    --input image:height=32,width=32,channels=1 --labels labels.txt --items images/
  avizor export pumps.onnx --name pumps --task reconstruct --calibrate normal/
"""


@click.command(
    cls=GroupedCommand,
    short_help="Export a trained network to a Triton model repository.",
    groups=_GROUPS,
    context_settings={"show_default": True},
    epilog=_EXAMPLES,
)
@click.argument("network")
@click.option("--name", required=True, help="Model name to publish under.")
@click.option("--models", type=_path, default=Path("models"), help="Model repository, created if it does not exist.")
@click.option(
    "--leave-out",
    multiple=True,
    type=click.Choice(OPTIONAL["classify"]),
    help="Optional output to publish without; may be repeated.",
)
@click.option("--task", type=click.Choice(["classify", "reconstruct"]), required=True, help="What the network does.")
@click.option("--input", metavar="DESCRIPTION", help="Raw item: a JSON file, or as image:height=32,width=32,channels=1.")
@click.option("--labels", type=_path, help="Text file with one label a line, in the order of the outputs (classify).")
@click.option("--weights", metavar="FILE", help="State dict, checkpoint, or torchvision:IMAGENET1K_V1[=FILE].")
@click.option("--weights-key", metavar="KEY", help="Set of weights to take from a file with several, such as ema.")
@click.option("--weights-in-factory", is_flag=True, help="Trust the weights that the factory itself loads.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=JSON",
    callback=parse_settings,
    help="Argument of the factory or architecture.",
)
@click.option(
    "--output",
    metavar="NAME",
    help="Which of several outputs to take: a name (.onnx: of a value inside too), or an index, such as 0.",
)
@click.option(
    "--activation",
    type=click.Choice(["softmax", "sigmoid"]),
    show_default="softmax, or sigmoid if the network ends in one",
    help="How probabilities are made: one class is right, or any number of them (multi-label).",
)
@click.option(
    "--thresholds",
    metavar="NUMBER|FILE",
    show_default="0.5",
    help="From which probability on a class counts as present (multi-label).",
)
@click.option("--embedding", metavar="LAYER", help="Layer (.onnx: value or node) whose output is the embedding.")
@click.option("--free-batch", is_flag=True, help="Free the batch of an .onnx file that was written for one batch size.")
@click.option("--fit-on", type=DataPath(), help="Training data from which mean and std are taken, where --input lacks them.")
@click.option("--items", type=DataPath(), help="Real items for parity and --int8, as --data of avizor calibrate.")
@click.option("--verify-with", metavar="triton://HOST:PORT", help="Prove the graph through this live Triton as well.")
@click.option(
    "--evaluate-on",
    type=_path,
    help="Labelled held-out data to measure on: a folder with one for each class (good, ...), a table, or .npz.",
)
@click.option("--evaluation", type=_path, help="JSON file of metrics measured on held-out data, for the manifest.")
@click.option("--training", type=_path, help="JSON file of lists of numbers by epoch, to plot in the model card.")
@click.option("--calibrate", type=DataPath(), help="Normal data not trained on, as --data of avizor calibrate.")
@source_options("the data")
@click.option("--int8", is_flag=True, help="Quantise the network, for CPUs or TensorRT.")
@click.option("--fp16", is_flag=True, help="Convert the network to float16, for GPUs.")
@click.option("--max-drop", type=FiniteRange(0, 1), default=0.01, help="Largest loss of the metric that is accepted.")
@serving_options
@show_stages()
def export(**options: Any) -> None:
    """Export NETWORK to a Triton model repository.

    NETWORK: a torch module's factory (package.module:factory); an architecture (lenet, alexnet, zfnet, googlenet, vgg16,
    resnet34, densenet121); a spec such as "conv32x2 pool conv64x2 pool fc256 fc10"; a .pt2 exported program; or an .onnx file.

    The input's pre-processing becomes part of the graph. The original network and ONNX Runtime are compared on zeros, random
    and real items. A version is published completely or not at all.
    """
    arguments = ExportArguments.of(options)
    arguments.check()
    require_onnxruntime("`avizor export`")
    with slow_imports():  # of torch: an option that is wrong was told before
        from avizor_export import export_command
    export_command.run(arguments)
