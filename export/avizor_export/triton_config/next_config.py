"""config.pbtxt of the next version: the settings that were given over those that are there, and what a person set by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.as_exported import split_base, with_base
from avizor_export.triton_config.merge import merge
from avizor_export.triton_config.setting_fields import SETTINGS, restore, restore_batching, settle
from avizor_export.triton_config.settings import ServingOptions, ServingSettings, changes, serving_of, with_options
from avizor_export.triton_config.text import config_text
from avizor_inference.errors import AvizorError
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.triton_config import CONFIG_FILE, digests_in, not_served, parse_config, serves_newest

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
        text = exported_text(manifest, with_options(ServingSettings(), options), digests)
        return NextConfig(with_base(text, text))
    found = _readable(before, earlier or manifest, kept_name)
    base, edited = found.base, found.config
    replaced = restore_batching(base, edited, {*options})
    published = serving_of(edited)
    serving = with_options(published, options)
    wanted = exported_text(manifest, serving, digests)
    new = parse_config(wanted, CONFIG_FILE)
    replaced += settle(base, edited, new, {*options, *changes(published, serving)})
    merged, conflicts = merge(base, edited, new)
    replaced += conflicts
    text, lost = written(merged, wanted, before, found.unedited, kept_name)
    notes = [
        *found.notes,
        *_dropped(published, serving, options),
        *_kept(lost, replaced, kept_name),
        *_unserved(merged, manifest),
    ]
    return NextConfig(text, lost or bool(replaced or found.notes), tuple(notes))


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
    """The text for a configuration, and whether the file before, with its comments, has to be kept since it had been edited.

    exported: what export writes for its settings, which is taken where nothing was edited or it says the same; it becomes the
    base by which the next edits are told. unedited: what export would have written in the place of `before`, for a file that
    does not hold that itself.
    """
    body, base = _split(before)
    first_line = body.partition("\n")[0]
    unchanged = body == (unedited if base is None else base)
    if unchanged or parse_config(exported, CONFIG_FILE) == config:
        return with_base(exported, exported), not (unchanged or _has_no_comments(body))
    lost = not _has_no_comments(body)
    header = f"{_HEADER}; the file that was edited, with its comments, is {kept_name}." if lost else first_line
    return with_base(_all_fields(config, header), exported), lost


def name_to_keep(folder: Path) -> str:
    """A name for the edited config.pbtxt of a model's folder that no file has: what was kept before stays."""
    number = 1
    while (folder / f"{CONFIG_FILE}.edited-{number}").exists():
        number += 1
    return f"{CONFIG_FILE}.edited-{number}"


def _all_fields(config: ModelConfig, header: str) -> str:
    header = header if header.startswith(_HEADER) else f"{_HEADER}."
    return f"{header}\n{text_format.MessageToString(config)}"


def _has_no_comments(body: str) -> bool:
    """Whether `_all_fields` writes it again as it is."""
    try:
        return body == _all_fields(parse_config(body, CONFIG_FILE), body.partition("\n")[0])
    except AvizorError:
        return False


@dataclass(frozen=True)
class _Readable:
    """A configuration whose settings make sense, and the base that its edits are told by.

    unedited: the text of the base. notes: what of the file made no sense.
    """

    config: ModelConfig
    unedited: str
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> ModelConfig:
        return parse_config(self.unedited, CONFIG_FILE)


def _readable(before: str, manifest: Manifest, kept_name: str) -> _Readable:
    """What the file says; what makes no sense in it gives way to what was exported. manifest: of the version before."""
    body, base = _split(before)
    usual = exported_text(manifest, ServingSettings(), {}) if base is None else base
    try:
        config = parse_config(body, CONFIG_FILE)
    except AvizorError as error:  # to export again is how a broken config is mended
        config = parse_config(usual, CONFIG_FILE)
        taken = "the default settings are" if base is None else "what was last exported or tuned is"
        return _Readable(config, usual, (f"{error}; {taken} taken, and the file is kept as {kept_name}",))
    notes = _mend(config, parse_config(usual, CONFIG_FILE), kept_name)
    if base is None:
        base = exported_text(manifest, serving_of(config), digests_in(config))
        _take_usual_warmups(config, parse_config(base, CONFIG_FILE))
    return _Readable(config, base, notes)


def _split(before: str) -> tuple[str, str | None]:
    """The text without its base, and the base; None where there is none that can be read."""
    body, base = split_base(before)
    try:
        return body, base and parse_config(base, CONFIG_FILE) and base
    except AvizorError:
        return body, None


def _mend(config: ModelConfig, usual: ModelConfig, kept_name: str) -> tuple[str, ...]:
    """Take what makes no sense in the settings from `usual`: one of them, or where that does not help all; gives the notes."""
    error = _fault(config)
    if error is None:
        return ()
    mended = ModelConfig()
    for names in (*((name,) for name in SETTINGS), tuple(SETTINGS)):
        mended.CopyFrom(config)
        for name in names:
            restore(mended, usual, name)
        if _fault(mended) is None:
            config.CopyFrom(mended)
            what = names[0] if len(names) == 1 else "all settings"
            return (f"{CONFIG_FILE}: {error}; {what} is as before the edit or by default, and the file is kept as {kept_name}",)
    raise error


def _fault(config: ModelConfig) -> AvizorError | None:
    try:
        serving_of(config)
    except AvizorError as error:
        return error
    return None


def _take_usual_warmups(edited: ModelConfig, base: ModelConfig) -> None:
    """Warm-ups as export writes them for another max_batch_size follow that which was set by hand."""
    if len(edited.model_warmup) != len(base.model_warmup):
        return
    usual = ModelConfig(model_warmup=base.model_warmup)
    for there, warmup in zip(edited.model_warmup, usual.model_warmup, strict=True):
        warmup.batch_size, warmup.name = there.batch_size, f"batch of {there.batch_size}"
    if usual.model_warmup == edited.model_warmup:
        edited.ClearField("model_warmup")
        edited.model_warmup.extend(base.model_warmup)


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


def _unserved(config: ModelConfig, manifest: Manifest) -> Iterator[str]:
    if not serves_newest(config, manifest.version):
        yield f"{CONFIG_FILE}: {not_served(manifest.version)}"
