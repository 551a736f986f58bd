"""Say in a line what each command does, without loading it: a list of the commands does not wait for torch."""

from __future__ import annotations

from importlib.util import find_spec

SUMMARIES = {
    "batch": "Run models over a dataset, into Parquet tables.",
    "calibrate": "Make a new calibration for the engine that serves a model.",
    "call": "Ask a gateway about files, or let it listen to sound.",
    "describe": "Print a network layer by layer.",
    "doctor": "Say which engines and extras are here, and why not the others.",
    "explain": "Look inside a model: filters, where it looks, its latent space.",
    "export": "Export a trained network to a Triton model repository.",
    "fit": "Go from a folder of normal items to a calibrated model.",
    "health": "Ask a gateway whether it serves.",
    "models": "List the models of a repository, or check them.",
    "neighbours": "Find the items most similar to one.",
    "project": "Draw the embeddings of a batch job as a map.",
    "report": "One HTML page of what a job found.",
    "retry": "Do the files again that a batch job could not read.",
    "review": "See, hear and answer what a job flagged, in a browser.",
    "serve": "Serve a model repository over gRPC.",
    "tune": "Measure a model here and write its best settings.",
    "verify": "Prove that a batch job's tables are complete.",
    "watch": "Run models over files, or sound, as they come.",
}

# For each extra a module that it brings: without it no command of the extra works. What every part needs says nothing.
_NEEDED = {
    "client": "google.rpc",
    "export": "torch",
    "pictures": "matplotlib",
    "pipeline": "rich",
    "review": "duckdb",
    "service": "uvloop",
}

# Extras that bring an engine, and the same without it.
WITHOUT_ENGINE = {"export": "networks", "pipeline": "jobs", "review": "pages", "service": "gateway"}


def summary_of(name: str, extra: str) -> str | None:
    """Return what a command does, or which extra it lacks; None if it is not known here, as commands of other packages."""
    return not_installed(extra) if missing_of(extra) else SUMMARIES.get(name)


def missing_of(extra: str) -> str:
    """Return the library that an extra brings and that is not installed; "" if it is, or the extra is not known."""
    needed = _NEEDED.get(extra, "")
    return needed if needed and not _is_found(needed) else ""


def to_install(extra: str) -> str:
    """Return the extra to install for the commands of `extra`: without an engine where one is installed.

    That of another build (onnxruntime, onnxruntime-gpu) has files of the same names.
    """
    return WITHOUT_ENGINE.get(extra, extra) if find_spec("onnxruntime") else extra


def not_installed(extra: str) -> str:
    """Return the summary of a command whose extra is not installed."""
    return f"Not installed: needs avizor[{to_install(extra)}]."


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that the module is in
        return False
