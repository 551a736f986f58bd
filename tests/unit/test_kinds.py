"""Kinds of items speak for themselves: no module but their own, and a few with reasons, names one."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support.environment import ROOT

from avizor.v1 import inference_pb2 as pb
from avizor_export.front_ends.build import front_end_of
from avizor_export.networks.input_description import parse_input
from avizor_inference.items.input_spec import CONTENTS, KINDS

NAMES = (
    "ImageInput AudioInput SignalInput TableInput TensorInput ImageFrontEnd LogMelFrontEnd MfccFrontEnd SpectrogramFrontEnd "
    "WaveformFrontEnd SignalFrontEnd TableFrontEnd ImageFile SoundFile SignalFile TableRow"
)
CLASSES = re.compile(rf"\b({NAMES.replace(' ', '|')})\b")
# Modules outside of the kinds' own that name one in code, and why.
REASONS = {
    "inference/avizor_inference/items/input_spec.py": "the union",
    "inference/avizor_inference/items/audio_file.py": "soundfile.SoundFile is a class of that library",
    "inference/avizor_inference/items/wav_writer.py": "soundfile.SoundFile is a class of that library",
    "export/avizor_export/front_ends/image_scaling.py": "a kind's own front end",
    "export/avizor_export/front_ends/log_mel.py": "a kind's own front end",
    "export/avizor_export/front_ends/signal_scaling.py": "a kind's own front end",
    "export/avizor_export/front_ends/mfcc.py": "a kind's own front end",
    "export/avizor_export/front_ends/spectrogram.py": "a kind's own front end",
    "export/avizor_export/front_ends/waveform.py": "a kind's own front end",
    "export/avizor_export/front_ends/table_scaling.py": "a kind's own front end",
    "export/avizor_export/parity/rounding.py": "what the front end of sound rounds of quiet bands",
    "review/avizor_review/media/draw.py": "each kind is drawn in its own way",
    "review/avizor_review/media/media.py": "a sound is heard as it was recorded, too",
    "review/avizor_review/media/plain_spec.py": "what can be shown without a model is sound and pictures",
    "inference/avizor_inference/items/data/table_data.py": "files of rows are tables' own",
    "inference/avizor_inference/items/data/open_packs.py": "files of rows are tables' own",
    "inference/avizor_inference/items/data/row_batches.py": "files of rows are tables' own",
    "inference/avizor_inference/items/data/row_files.py": "files of rows are tables' own",
    "inference/avizor_inference/items/data/item_files.py": "files of rows are tables' own",
    "export/avizor_export/data/held_out.py": "files of rows are tables' own",
    "export/avizor_export/networks/open_network.py": "torchvision's weights were trained on images",
    "export/avizor_export/networks/torchvision_weights.py": "torchvision's weights were trained on images",
    "export/avizor_export/networks/own_inputs.py": "torchvision and timm train on images",
    "export/avizor_export/networks/onnx_adoption.py": "an ONNX file says what its own tensor is",
    "export/avizor_export/networks/onnx_input.py": "an ONNX file says what its own tensor is",
    "inference/avizor_inference/explain/axes.py": "pixels, seconds and Hz, samples, columns",
    "inference/avizor_inference/explain/filter_axes.py": "pixels, seconds and Hz, samples, columns",
    "inference/avizor_inference/explain/error_map.py": "what the places of an error are",
    "inference/avizor_inference/explain/background.py": "what an item looks like under a map",
    "inference/avizor_inference/explain/pictures/maps.py": "what an item looks like under a map",
    "inference/avizor_inference/explain/hiding/places.py": "what is hidden at once",
    "inference/avizor_inference/explain/hiding/cover_of.py": "what is hidden at once",
    "inference/avizor_inference/explain/hiding/fills.py": "what is put there",
    "inference/avizor_inference/explain/cli/cam.py": "rows of a table have no places",
    "inference/avizor_inference/explain/gateway_client.py": "a row of a table is no file",
    "service/avizor_service/map_plans.py": "rows of a table have no places",
    "inference/avizor_inference/judged_rows.py": "TableRow is a row of the job's results there",
    "service/avizor_service/keeping/flagged.py": "TableRow is a row of the job's results there",
    "pipeline/avizor_pipeline/rows.py": "TableRow is a row of the job's results there",
    "pipeline/avizor_pipeline/shard_run.py": "TableRow is a row of the job's results there",
    "pipeline/avizor_pipeline/section_run.py": "TableRow is a row of the job's results there",
    "pipeline/avizor_pipeline/totals.py": "TableRow is a row of the job's results there",
}
SHORT_FORMS = {
    "image": "image:height=8,width=8,channels=1",
    "audio": "audio:sample_rate=8000,window_samples=800,hop_samples=800,n_fft=256,hop_length=80,n_mels=8",
    "signal": "signal:channels=1,window_samples=100,hop_samples=50",
    "table": "table:columns=amount",
    "tensor": "tensor:item_shape=3",
}


def code_of(text: str) -> str:
    """Code without docstrings and comments."""
    return re.sub(r"#.*", "", re.sub(r'"""(?:.|\n)*?"""', "", text))


def test_no_other_module_names_a_kind() -> None:
    naming = set()
    for package in ("inference", "export", "pipeline", "review", "service", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            if path.parent.name != "kinds" and CLASSES.search(code_of(path.read_text(encoding="utf-8"))):
                naming.add(str(path.relative_to(ROOT)))
    assert naming == set(REASONS)


@pytest.mark.parametrize("modality", KINDS)
def test_every_kind_has_a_short_form_a_front_end_and_a_field_in_the_messages(modality: str) -> None:
    spec = parse_input(SHORT_FORMS[modality])
    assert type(spec) is KINDS[modality]
    assert front_end_of(spec).spec == spec
    assert modality in {field.name for field in pb.Model.DESCRIPTOR.oneofs_by_name["input"].fields}


def test_every_field_of_an_item_is_a_content() -> None:
    assert {field.name for field in pb.Item.DESCRIPTOR.oneofs_by_name["content"].fields} == set(CONTENTS)


def test_reading_a_manifest_loads_no_decoder() -> None:
    decoders = "{'PIL', 'scipy', 'soundfile', 'soxr'}"
    code = f"import sys, avizor_inference.repository.manifest; print(*sorted({decoders} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
