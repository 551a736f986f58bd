"""Parse specs by the rule `INPUT -> [[conv -> relu]^n -> pool?]^m -> [fc -> relu]^k -> fc`, and build the networks.

    conv32x2 pool conv64x2 pool fc256 fc10

is two convolutions of 32 channels, a pool, two of 64, a pool, a hidden linear layer and the one that gives the logits. The
words and their options are in grammar_text.py, which `avizor describe --help` prints.

The last word says what the network is for. After fc it is a classifier, and this file builds it; latent and latentmap make an
autoencoder (autoencoder.py), shuffle a network for super-resolution (super_resolution.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from avizor_export.architectures.layers_by_dimension import AVERAGE_POOL, BATCH_NORM, CONVOLUTION, GLOBAL_POOL, MAX_POOL
from avizor_export.architectures.map_sizes import map_after

# Attribute of a layer that holds the word of the spec from which it was made.
WORD = "avizor_word"
WORDS = ("conv", "maxpool", "avgpool", "pool", "gap", "lrn", "drop", "fc", "latentmap", "latent", "shuffle")
_TOKEN = re.compile(rf"({'|'.join(WORDS)})(\d+(?:\.\d+)?)?((?:bn|ceil|[a-z]\d+(?:\.\d+)?(?:e-?\d+)?)*)")
# Last words of networks that return an image, a spectrogram or a row, and not logits.
_RECONSTRUCTING = ("latent", "latentmap", "shuffle")
_OPTION = re.compile(r"(bn|ceil|[a-z])(\d+(?:\.\d+)?(?:e-?\d+)?)?")
_OPTIONS = {
    "conv": {"x", "k", "s", "p", "bn"},
    "pool": {"s", "p", "ceil"},
    "lrn": {"a", "b", "k"},
    "fc": {"bn"},
    "gap": set(),
    "drop": set(),
    "latent": set(),
    "latentmap": set(),
    "shuffle": set(),
}
_WITHOUT_NUMBER = {"gap"}


@dataclass(frozen=True)
class Token:
    """Holds one word of a spec: its kind, its number (None where absent) and its options by letter (bn and ceil are 1)."""

    text: str
    kind: str
    number: float | None
    options: dict[str, float]

    def whole(self, option: str, default: int, least: int = 1) -> int:
        """Return an option that is a whole number. Raises ValueError if it is not, or too small."""
        value = self.options.get(option, default)
        if value != int(value) or value < least:
            raise ValueError(f"{self.text!r}: {option}{value:g} has to be a whole number, at least {least}")
        return int(value)

    def size(self, default: int | None = None) -> int:
        """Return the number after the word, as a whole number of at least 1."""
        value = self.number if self.number is not None else default
        if value is None or value != int(value) or value < 1:
            raise ValueError(f"{self.text!r}: write a whole number of at least 1 after {self.kind!r}, as in {self.kind}32")
        return int(value)


def is_spec(text: str) -> bool:
    """Return whether the first word is one of the grammar's."""
    words = text.split()
    return bool(words) and _TOKEN.fullmatch(words[0]) is not None


def reconstructs(text: str) -> bool:
    """Return whether the last word makes it an autoencoder or a network for super-resolution."""
    words = text.split()
    match = _TOKEN.fullmatch(words[-1]) if is_spec(text) else None
    return match is not None and match[1] in _RECONSTRUCTING


def parse_words(spec: str) -> list[Token]:
    """Parse a spec of any kind. Raises ValueError naming the word that is wrong, or comes too late or too early."""
    tokens = [_token(word) for word in spec.split()]
    for token in tokens[:-1]:
        if token.kind in _RECONSTRUCTING:
            raise ValueError(f"{token.text!r} has to be the last word: what comes after it is made from the words before it")
    hidden = [token for token in tokens if token.kind == "fc"]
    for token in tokens[tokens.index(hidden[0]) :] if hidden else ():
        if token.kind not in ("fc", "drop", "latent"):
            raise ValueError(f"{token.text!r} comes after {hidden[0].text!r}; maps end with the first fc")
    return tokens


def parse_spec(spec: str) -> list[Token]:
    """Parse a classifier's spec. Raises ValueError naming the word that is wrong, or what is missing."""
    tokens = parse_words(spec)
    if tokens and tokens[-1].kind in _RECONSTRUCTING:
        raise ValueError(f"{tokens[-1].text!r} ends a network that returns a reconstruction; build_autoencoder builds it")
    if not tokens or tokens[-1].kind != "fc":
        raise ValueError(f"the spec {spec!r} does not end with fc: its last layer gives the logits, as in `conv32 pool fc10`")
    return tokens


def build_spec(spec: str, shape: tuple[int, ...], classes: int | None = None) -> nn.Sequential:
    """Build the network that a classifier's spec describes: float32[batch, *shape] -> logits float32[batch, classes].

    shape: channels, height, width; channels, steps of a signal; or the numbers of a row, for a spec that begins with fc.
    classes: None takes the last word's number. Raises ValueError if the spec is wrong, does not give as many logits as there
    are classes, or the input is too small for it.
    """
    tokens = parse_spec(spec)
    outputs = _classes(tokens[-1], classes)
    first = [token.kind for token in tokens].index("fc")
    # Dropout before the first linear layer belongs to the head: it takes flat input as well.
    while first and tokens[first - 1].kind == "drop":
        first -= 1
    if len(shape) == 1:
        refuse_maps(tokens[:first], shape)
        return nn.Sequential(*_head(tokens[first:-1], shape[0], outputs))
    features = map_layers(tokens[:first], shape[0], len(shape) - 1)
    head = _head(tokens[first:-1], math.prod(map_after(features, shape)), outputs)
    return nn.Sequential(*features, nn.Flatten(), *head)


def refuse_maps(tokens: Sequence[Token], shape: tuple[int, ...]) -> None:
    """Raise ValueError if one of the words takes maps, and the input is a row of numbers."""
    for token in tokens:
        if token.kind not in ("fc", "drop"):
            raise ValueError(f"{token.text!r} takes maps, and the input is a row of {shape[0]} numbers; begin with fc")


def _token(word: str) -> Token:
    match = _TOKEN.fullmatch(word)
    if not match:
        raise ValueError(f"{word!r} is not a word of the grammar; the words are {', '.join(WORDS)}")
    kind, number, rest = match.groups()
    given = _OPTION.findall(rest)
    options = {name: float(value or 1) for name, value in given}
    if twice := [name for name, _ in given if [other for other, _ in given].count(name) > 1]:
        raise ValueError(f"{word!r} gives {twice[0]!r} twice; write one of them")
    if number and kind in _WITHOUT_NUMBER:
        raise ValueError(f"{word!r}: {kind} takes no number; write {kind}")
    unknown = sorted(set(options) - options_of(kind))
    if unknown:
        raise ValueError(f"{word!r}: {kind} has no option {unknown[0]!r}")
    return Token(word, kind, float(number) if number else None, options)


def options_of(kind: str) -> set[str]:
    """Return the options that a word takes."""
    return _OPTIONS["pool" if kind.endswith("pool") else kind]


def of_word(token: Token, layers: Sequence[nn.Module]) -> Sequence[nn.Module]:
    """Mark the layers as made from this word, and return them. `words_of` reads the marks."""
    for layer in layers:
        setattr(layer, WORD, token.text)
    return layers


def words_of(network: nn.Module) -> dict[str, str]:
    """Return the word of the spec by the name of the module that it made; empty for a network that no spec made."""
    return {name: getattr(module, WORD) for name, module in network.named_modules() if hasattr(module, WORD)}


def _classes(last: Token, classes: int | None) -> int:
    if last.options:
        raise ValueError(
            f"{last.text!r}: the last fc gives the logits, without batch norm; write {last.text.partition('bn')[0]}"
        )
    if last.number is None and classes is None:
        raise ValueError(f"{last.text!r}: write the number of classes, as in fc10")
    if last.number is None:
        return int(classes or 0)
    if classes is not None and last.size() != classes:
        raise ValueError(
            f"{last.text!r} gives {last.size()} logits for {classes} classes; give {last.size()} labels, or write a bare fc"
        )
    return last.size()


def map_layers(tokens: Sequence[Token], channels: int, dimensions: int) -> nn.Sequential:
    """Return the layers that take maps, in their order. channels: of the input. dimensions: of a map, 1 for a signal."""
    layers: list[nn.Module] = []
    for token in tokens:
        if token.kind == "conv":
            layers += of_word(token, _convolutions(token, channels, dimensions))
            channels = token.size()
        else:
            layers += of_word(token, [layer_of_word(token, dimensions)])
    return nn.Sequential(*layers)


def _convolutions(token: Token, inputs: int, dimensions: int) -> list[nn.Module]:
    outputs, kernel, stride = token.size(), token.whole("k", 3), token.whole("s", 1)
    padding = token.whole("p", kernel // 2, least=0)
    layers: list[nn.Module] = []
    for index in range(token.whole("x", 1)):
        batch_norm = "bn" in token.options
        convolution = CONVOLUTION[dimensions]
        layers.append(
            convolution(outputs if index else inputs, outputs, kernel, 1 if index else stride, padding, bias=not batch_norm)
        )
        layers += [BATCH_NORM[dimensions](outputs)] if batch_norm else []
        layers.append(nn.ReLU())
    return layers


def layer_of_word(token: Token, dimensions: int = 2) -> nn.Module:
    """Return the layer of a word without weights, for maps of so many dimensions: a pool, a normalisation, dropout."""
    if token.kind == "drop":
        return _dropout(token)
    if token.kind == "gap":
        return GLOBAL_POOL[dimensions](1)
    if token.kind == "lrn":
        options = token.options
        return nn.LocalResponseNorm(token.size(5), options.get("a", 1e-4), options.get("b", 0.75), options.get("k", 1.0))
    size, ceil = token.size(2), "ceil" in token.options
    stride, padding = token.whole("s", size), token.whole("p", 0, least=0)
    if 2 * padding > size:
        raise ValueError(
            f"{token.text!r}: padding {padding} is more than half of the pool's size {size}; write p{size // 2} or less"
        )
    if token.kind == "avgpool":
        return AVERAGE_POOL[dimensions](size, stride, padding, ceil_mode=ceil)
    return MAX_POOL[dimensions](size, stride, padding, ceil_mode=ceil)


def _dropout(token: Token) -> nn.Module:
    probability = 0.5 if token.number is None else token.number
    if not 0 <= probability < 1:
        raise ValueError(f"{token.text!r}: the probability {probability:g} has to be at least 0 and less than 1")
    return nn.Dropout(probability)


def _head(tokens: list[Token], inputs: int, classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for token in tokens:
        if token.kind == "drop":
            layers.append(_dropout(token))
            continue
        width, batch_norm = token.size(), "bn" in token.options
        layers.append(nn.Linear(inputs, width, bias=not batch_norm))
        layers += [nn.BatchNorm1d(width)] if batch_norm else []
        layers.append(nn.ReLU())
        inputs = width
    return [*layers, nn.Linear(inputs, classes)]
