"""Say what each output of a model means, for manifest and model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avizor_export.graph.enlargement import enlargement
from avizor_inference.items.input_spec import InputSpec

_MEAN_ERROR = "mean squared reconstruction error of the front end's output, >= 0: the mean of error_map"

# What the meaning of a score begins with if there are others, and p-values come from this one.
DECIDES = "decides"

# Of a score that decides.
PARTS = ("reconstruction_score", "neighbour_score", "local_score")

MEANINGS = {
    "probabilities": "softmax over the classes, sums to 1",
    "embedding": "input of the last linear layer",
    "activations": "output of the last layer that returns a map of more than one pixel, for class activation maps",
    "score": _MEAN_ERROR,
    "reconstruction_score": _MEAN_ERROR,
    "neighbour_score": "distance to the nearest row of a bank of normal items, >= 0",
    "local_score": "mean squared deviation of the most unusual block of a picture, in variances of normal ones there, >= 0",
    "error_map": "squared reconstruction error per element of the front end's output, >= 0",
    "reconstruction": "the front end's output as the autoencoder reconstructs it",
}


def meanings(shapes: Mapping[str, Sequence[int]], spec: InputSpec, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what each output of this model means, by name; empty for an output that Avizor does not know.

    shapes: shape of each output for one item, by name. known: meanings that depend on the network, by name. Where features have
    names, that of the errors names them in order.
    """
    texts = {name: MEANINGS.get(name, "") for name in shapes}
    if "reconstruction_score" in texts:
        *parts, last = (name for name in PARTS if name in texts)
        texts["score"] = f"{DECIDES}: {', '.join(parts)} and {last} together, > 0; normal items are near 1"
    if "reconstruction" in texts and "embedding" in texts:
        texts["embedding"] = "the latent vector"
    texts |= {name: text for name, text in (known or {}).items() if name in texts}
    if not {"score", "error_map", "reconstruction"} <= texts.keys():
        return texts
    times = enlargement(shapes["error_map"], shapes["reconstruction"])
    if times > 1:
        texts["error_map"] += f"; the reconstruction is averaged over {times} x {times} pixels first"
        texts["reconstruction"] += f", {times} times as high and wide"
    if features := spec.feature_names():
        for name in ("error_map", "reconstruction"):
            texts[name] += f"; in order: {', '.join(features)}"
    return texts
