"""The example that looks inside: one command, one page, with a picture of every kind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "looking_inside.py"
KINDS = ("filters", "cam", "occlusion", "projection", "latent", "sound-filters", "sound-cam", "sound-occlusion", "sound-errors")


@pytest.mark.slow
def test_the_page_has_pictures_of_every_kind(tmp_path: Path) -> None:
    out = tmp_path / "page"
    done = subprocess.run([sys.executable, EXAMPLE, "--out", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pictures = re.findall(r'<img src="([^"]+)"', (out / "index.html").read_text())
    assert [kind for kind in KINDS if not any(f"{kind}/" in picture for picture in pictures)] == []
    for picture in pictures:
        with Image.open(out / picture) as image:
            assert min(image.size) > 100
            assert len(image.convert("L").getcolors(256) or []) > 10, f"{picture} is empty"
