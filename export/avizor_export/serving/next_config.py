"""config.pbtxt of the next version: the settings that were given over those that are there, and what a person set by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.serving.merge import merge
from avizor_export.serving.settings import ServingOptions, ServingSettings, serving_of, with_options
from avizor_export.serving.triton_config import config_text
from avizor_inference.config import CONFIG_FILE, digests_in, parse_config
from avizor_inference.errors import AvizorError
from avizor_inference.manifest import Manifest

_HEADER = "# Written by avizor, with fields that a person had set"


@dataclass(frozen=True)
class NextConfig:
    """The text of the next config.pbtxt, and what a person should know of it.

    keep_before: whether the file before says what this one does not, such as comments; then it has to be kept.
    notes: what became of settings and edits that were there, one line each.
    """

    text: str
    keep_before: bool = False
    notes: tuple[str, ...] = ()


def next_config(
    before: str | None,
    earlier: Manifest | None,
    manifest: Manifest,
    options: ServingOptions,
    digests: Mapping[int, str],
    kept_name: str,
) -> NextConfig:
    """What config.pbtxt has to say once `manifest`'s version is there.

    before: text of the file that is there. earlier: manifest of the newest version that it serves; None where there is none
    that can be read. digests: of all versions, as for config_text. kept_name: the name that the file before would be kept
    under. Raises ExportError for settings that do not fit each other.
    """
    if before is None:
        return NextConfig(exported_text(manifest, with_options(ServingSettings(), options), digests))
    try:
        edited = parse_config(before, CONFIG_FILE)
        published = serving_of(edited)
    except AvizorError as error:  # to export again is how a broken config is mended
        text = exported_text(manifest, with_options(ServingSettings(), options), digests)
        return NextConfig(text, True, (f"{error}; the default settings are taken, and the file is kept as {kept_name}",))
    serving = with_options(published, options)
    unedited = exported_text(earlier or manifest, published, digests_in(edited))
    wanted = exported_text(manifest, serving, digests)
    base, new = parse_config(unedited, CONFIG_FILE), parse_config(wanted, CONFIG_FILE)
    replaced = list(_give_way(base, edited, moved=serving.target != published.target))
    merged, conflicts = merge(base, edited, new)
    text, keep = written(merged, wanted, before, unedited, kept_name)
    notes = [*_dropped(published, serving, options), *_kept(keep, [*replaced, *conflicts], kept_name)]
    return NextConfig(text, keep or bool(replaced or conflicts), tuple(notes))


def exported_text(manifest: Manifest, serving: ServingSettings, digests: Mapping[int, str]) -> str:
    """What export writes for a version where no person has edited anything."""
    return config_text(
        manifest.name,
        [manifest.input.tensor()],
        manifest.outputs,
        serving,
        labels=manifest.labels is not None,
        digests=digests,
        precision=manifest.precision,
    )


def written(config: ModelConfig, exported: str, before: str, unedited: str, kept_name: str) -> tuple[str, bool]:
    """The text for a configuration, and whether the file before, with its comments, has to be kept.

    exported: what export writes for its settings, which is taken if it says the same; unedited: what it would have written in
    the place of `before`.
    """
    lost = before != unedited and before != _all_fields(parse_config(before, CONFIG_FILE), before.partition("\n")[0])
    if parse_config(exported, CONFIG_FILE) == config:
        return exported, lost
    header = f"{_HEADER}; the file that was edited, with its comments, is {kept_name}." if lost else before.partition("\n")[0]
    return _all_fields(config, header), lost


def name_to_keep(folder: Path) -> str:
    """A name for the edited config.pbtxt of a model's folder that no file has: what was kept before stays."""
    number = 1
    while (folder / f"{CONFIG_FILE}.edited-{number}").exists():
        number += 1
    return f"{CONFIG_FILE}.edited-{number}"


def _all_fields(config: ModelConfig, header: str) -> str:
    header = header if header.startswith(_HEADER) else f"{_HEADER}."
    return f"{header}\n{text_format.MessageToString(config)}"


def _give_way(base: ModelConfig, edited: ModelConfig, moved: bool) -> Iterator[str]:
    """Take back edits that cannot stay; gives the fields.

    Warm-ups as export writes them follow max_batch_size. Instance groups belong to their target.
    """
    if all(warmup.name == f"batch of {warmup.batch_size}" for warmup in edited.model_warmup):
        del edited.model_warmup[:]
        edited.model_warmup.extend(base.model_warmup)
    if moved and list(base.instance_group) != list(edited.instance_group):
        del edited.instance_group[:]
        edited.instance_group.extend(base.instance_group)
        yield "instance_group"


def _dropped(published: ServingSettings, serving: ServingSettings, options: ServingOptions) -> Iterator[str]:
    gone = sorted(set(published.preferred_batch_sizes) - set(serving.preferred_batch_sizes))
    if gone and "preferred_batch_sizes" not in options:
        sizes = ", ".join(map(str, gone))
        yield f"preferred batch sizes over the new max_batch_size {serving.max_batch_size} were dropped: {sizes}"


def _kept(keep: bool, replaced: list[str], kept_name: str) -> Iterator[str]:
    if replaced:
        yield f"{CONFIG_FILE}: edited by hand, and replaced by what the options or the new version ask: {', '.join(replaced)}"
    if keep or replaced:
        yield f"{CONFIG_FILE} had been edited: its other fields stay, and as it was, with its comments, it is {kept_name}"
