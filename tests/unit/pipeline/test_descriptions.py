"""Small readers: input descriptions, source rules, job settings, plans."""

import json
from pathlib import Path, PurePath

import pytest
from support.sounds import tone, write_wav

from avizor_export.front_ends.warnings import front_end_warnings
from avizor_export.networks.input_description import parse_input
from avizor_inference.errors import AvizorError, ExportError, JobError, SettingsError
from avizor_inference.items.inputs import AudioInput, ImageInput, TensorInput
from avizor_inference.items.sources import SourceRule
from avizor_pipeline import plan
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output import claimed, examine
from avizor_pipeline.sinks.tables import TABLES

SECOND_AT_16K = "audio:sample_rate=16000,window_samples=16000,hop_samples=16000"


def test_input_descriptions(tmp_path: Path) -> None:
    image = parse_input("image:height=32,width=24,channels=3,mean=0.5/0.4/0.3,std=0.2")
    assert isinstance(image, ImageInput)
    assert (image.height, image.front_end.mean, image.front_end.std) == (32, (0.5, 0.4, 0.3), (0.2,))
    audio = parse_input("audio:sample_rate=8000,window_samples=8000,hop_samples=4000,n_fft=256,hop_length=80,n_mels=40")
    assert isinstance(audio, AudioInput)
    assert audio.front_end.n_mels == 40
    more = "win_length=200,window=hamming,center=true,pad_mode=reflect,power=1,mel_scale=htk,norm=none,log=db,compensated=true"
    audio = parse_input(f"audio:sample_rate=8000,window_samples=8000,hop_samples=4000,n_fft=256,hop_length=80,n_mels=40,{more}")
    assert isinstance(audio, AudioInput)
    assert (audio.front_end.center, audio.front_end.compensated, audio.front_end.power) == (True, True, 1)
    assert (audio.front_end.window, audio.front_end.win_length, audio.front_end.log) == ("hamming", 200, "db")
    (tmp_path / "input.json").write_text(audio.model_dump_json())
    assert parse_input(str(tmp_path / "input.json")) == audio
    assert parse_input("tensor:name=x,item_shape=3/4") == TensorInput(name="x", item_shape=(3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video:fps=3", "'video' is no modality; begin with image:, audio:, table: or tensor:"),
        ("image:height=8,width=8,channels=1,height=16", "'height' is given twice"),
        (
            "audio:sample_rate=8000,window_samples=800,hop_samples=80,n_fft=256,hop_length=80,n_mels=9,f_max=5000",
            "do not lie within 0 to 4000 Hz, half the sample rate",
        ),
        ("image:height=32,width=32", "image.channels: is missing"),
        ("image:height=tall,width=32,channels=1", "image.height"),
        (
            "image:height=32,width=32,channels=3,mean=0.5/0.5",
            "': image: mean has 2 values; give 1, or one for each of the 3 channels",
        ),
        ("image:height", "'height' is not key=value"),
        (
            "image:height=32,width=32,channel=1",
            "': unknown key 'channel', did you mean 'channels'[?] [(]image has channels, height, mean, std, width[)]$",
        ),
        ("image:height=32,width=32,channels=1,n_fft=256", "': unknown key 'n_fft' [(]image has "),
        (
            "audio:sample_rate=8000,window_samples=800,hop_samples=80,n_fft=256,hop_length=80,n_mels=9,centre=true",
            "': unknown key 'centre', did you mean 'center'[?] [(]audio has ",
        ),
        ("tensor:item_shape=3,mean=0.5", "': unknown key 'mean' [(]tensor has "),
        ("audio:sample_rate=8000,window_samples=100,hop_samples=50,n_fft=256,hop_length=80,n_mels=40", "less than n_fft"),
        (
            "audio:sample_rate=8000,window_samples=300,hop_samples=500,n_fft=256,hop_length=80,n_mels=40",
            "sound would be skipped",
        ),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_wrong_input_descriptions_name_the_field(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        parse_input(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"modality": "video"}', "modality: 'video' is none of 'image', 'audio', 'table', 'tensor'$"),
        ("{}", "modality: is missing$"),
        (
            '{"modality": "image", "height": 8, "width": 8, "channel": 1}',
            "image: unknown key 'channel', did you mean 'channels'[?]$",
        ),
        ('{"modality": "tensor", "item_shape": [3], "colour": 1}', "tensor: unknown key 'colour'$"),
        ("[1]", "Input should be an object"),
        ('{"modality": "tensor", "item_shape": [3], "item_shape": [4]}', "'item_shape' stands twice"),
    ],
)
def test_wrong_json_descriptions(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "input.json").write_text(text)
    with pytest.raises(ExportError, match=message):
        parse_input(str(tmp_path / "input.json"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image:height=8,width=8,channels=1,mean=127.5,std=0.5", "mean 127.5 is not on the 0..1 scale"),
        ("image:height=8,width=8,channels=3,mean=0.5,std=0.2/58/57", "std 58, 57 is not on the 0..1 scale"),
        (f"{SECOND_AT_16K},n_fft=400,hop_length=200,n_mels=128,mel_scale=htk", "4 of the 128 mel bands hold no frequency bin"),
        (f"{SECOND_AT_16K},n_fft=400,hop_length=7,n_mels=24", "n_fft 400 and hop_length 7 takes several times"),
        (f"{SECOND_AT_16K},n_fft=1024,hop_length=441,n_mels=24", None),
        ("image:height=8,width=8,channels=1,mean=0.5,std=1", None),
        ("tensor:item_shape=3", None),
    ],
)
def test_remarks_on_a_front_end(text: str, says: str | None) -> None:
    found = list(front_end_warnings(parse_input(text)))
    assert len(found) == (says is not None)
    assert says is None or says in found[0]


def test_source_rules() -> None:
    assert SourceRule().source_of(PurePath("fan-1/normal/1.wav")) == "fan-1"
    assert SourceRule().source_of(PurePath("1.wav")) == "default"
    assert SourceRule(r"_([a-z]+)_").source_of(PurePath("3_theo_12.wav")) == "theo"
    assert SourceRule(r"_([a-z]+)_").source_of(PurePath("other.wav")) == "default"
    for pattern, message in (("(", "not a regular expression"), ("abc", "has no group")):
        with pytest.raises(SettingsError, match=message):
            SourceRule(pattern)


def settings(*roots: Path, **changes: object) -> JobSettings:
    return JobSettings(rows_format=2, roots=tuple(map(str, roots)), repository="models", models=(), **changes)  # type: ignore[arg-type]


def test_shards_are_the_same_each_time_and_cover_every_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_FILES", 4)
    paths = [write_wav(tmp_path / f"{n % 3}" / f"{n}.wav", tone(0.1)) for n in range(10)]
    first, second = list(plan.shards(settings(tmp_path))), list(plan.shards(settings(tmp_path)))
    assert first == second
    assert [len(shard.recordings) for shard in first] == [4, 4, 2]
    assert sorted(each.uri for shard in first for each in shard.recordings) == sorted(map(str, paths))
    assert {each.source for shard in first for each in shard.recordings} == {"0", "1", "2"}
    other = list(plan.shards(settings(tmp_path, alpha=0.5)))
    assert not {shard.id for shard in first} & {shard.id for shard in other}
    write_wav(paths[0], tone(0.2))
    changed = list(plan.shards(settings(tmp_path)))
    assert [a.id == b.id for a, b in zip(first, changed, strict=True)].count(False) == 1


def test_large_files_close_a_shard_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_BYTES", 3000)
    for n in range(4):
        write_wav(tmp_path / f"{n}.wav", tone(0.1))  # 1,644 bytes each
    assert [len(shard.recordings) for shard in plan.shards(settings(tmp_path))] == [2, 2]


def test_roots(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="does not exist"):
        list(plan.shards(settings(tmp_path / "gone")))
    with pytest.raises(ValueError, match="counted twice"):
        settings(tmp_path, tmp_path / "below")


def claim(out: Path, job: JobSettings) -> None:
    """As a run does, and as a dry run does; with the same refusal."""
    refusals = []
    for check in (lambda: examine(out, job, frozenset()), lambda: claimed(out, job, frozenset()).__enter__()):
        try:
            check()
            refusals.append("")
        except AvizorError as error:
            refusals.append(f"{type(error).__name__}: {error}")
    assert refusals[0] == refusals[1]
    if refusals[0]:
        raise SettingsError(refusals[0])


def test_an_output_folder_belongs_to_one_job(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    job = settings(tmp_path / "data")
    claim(tmp_path / "out", job)
    claim(tmp_path / "out", job)
    with pytest.raises(SettingsError, match=r"a job with other alpha; choose another --out"):
        claim(tmp_path / "out", settings(tmp_path / "data", alpha=0.5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="is not empty"):
        claim(tmp_path / "mine", job)
    (tmp_path / "out" / "job.json").write_text(json.dumps({"rows_format": 2, "roots": 3}))
    with pytest.raises(SettingsError, match="cannot be read"):
        claim(tmp_path / "out", job)


def test_a_job_file_that_the_disk_lost_is_written_anew_only_where_nothing_else_lies(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    job = settings(tmp_path / "data")
    claim(tmp_path / "out", job)
    (tmp_path / "out" / "job.json").write_bytes(b"")
    claim(tmp_path / "out", job)
    assert JobSettings.model_validate_json((tmp_path / "out" / "job.json").read_bytes()) == job
    (tmp_path / "out" / "job.json").write_bytes(bytes(100))
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="cannot be read"):
        claim(tmp_path / "out", job)


def test_what_a_job_leaves_that_was_killed_as_it_began_is_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "job.lock").touch()
    (tmp_path / "out" / ".job.json.0123abcd.tmp").write_text("{")
    claim(tmp_path / "out", settings(tmp_path / "data"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"job.json", "job.lock", "listing.parquet", *TABLES}


def test_folders_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    job = settings(tmp_path / "data")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out, message in (
        (tmp_path / "file", "file is not a folder; choose another --out"),
        (tmp_path / "file" / "below", "file is not a folder; choose another --out"),
        (tmp_path / "link", "link is not a folder"),
        (tmp_path / ("x" * 300), "cannot be written .file name too long.; choose another --out"),
        (Path("/proc/x"), "/proc/x cannot be written .no such file or directory.; choose another --out"),
    ):
        with pytest.raises(SettingsError, match=message):
            claim(out, job)
