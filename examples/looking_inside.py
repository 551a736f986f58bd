"""Looking inside: what networks have learned and where they look, on handwritten digits and on the sound of machines.

    python examples/looking_inside.py --out looking-inside

It trains the models with the other examples, then runs the commands that you would type: the filters of the first layer, an
embedding as a map (t-SNE), hiding parts of an item, activation maps, and the latent space of an autoencoder. At the end it
writes `index.html`, a page with all pictures and the commands that drew them. The data is scikit-learn's digits (or MNIST,
with `--mnist`) and machine sounds that are generated (or those of `--data`, a folder like the Free Spoken Digit Dataset).
"""

from __future__ import annotations

import html
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from handwritten_digits import Digits, chosen_digits, digits_parser
from PIL import Image

from avizor_export import ExportRequest, build, export_model
from avizor_inference import ImageInput

AVIZOR = Path(sys.executable).with_name("avizor")
HERE = Path(__file__).parent
MOST_IMAGES = 1000


@dataclass
class Page:
    """Collects the sections of a page: text, the commands that were run, and the pictures that they drew."""

    folder: Path
    parts: list[str] = field(default_factory=list)

    def section(self, title: str, text: str) -> None:
        """Begin a section, and print its title."""
        print(f"\n{title}", flush=True)
        self.parts.append(f"<h2>{html.escape(title)}</h2>\n<p>{html.escape(text)}</p>")

    def run(self, *command: str | Path, pictures: Path | None = None, caption: str = "") -> None:
        """Run a command of Avizor, and add it with what it printed and with the pictures that are in a folder afterwards."""
        words = [str(word) for word in command]
        print("$ " + shlex.join(words), flush=True)
        done = subprocess.run([str(AVIZOR), *words[1:]], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        print(done.stdout, end="", flush=True)
        shown = shlex.join(words) + "\n" + done.stdout
        self.parts.append(f"<pre>{html.escape(shown.rstrip())}</pre>")
        for path in sorted(pictures.rglob("*.png")) if pictures else []:
            self.picture(path, caption)

    def picture(self, path: Path, caption: str) -> None:
        """Add a picture."""
        source = html.escape(str(path.relative_to(self.folder)), quote=True)
        words = html.escape(caption)
        self.parts.append(f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>')

    def write(self) -> Path:
        """Write index.html."""
        path = self.folder / "index.html"
        path.write_text(_PAGE.format(body="\n".join(self.parts)), encoding="utf-8")
        return path


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Looking inside</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
pre {{ background: #f4f4f4; padding: .6rem; font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }}
figure {{ margin: 1rem 0; }} img {{ max-width: 100%; }} figcaption {{ color: #555; font-size: 14px; }}
</style></head><body>
<h1>Looking inside: what a network has learned, and where it looks</h1>
{body}
</body></html>
"""


def train(*command: str | Path) -> None:
    """Run another example, which trains and exports."""
    print("$ python " + shlex.join(["examples/" + str(command[0]), *map(str, command[1:])]), flush=True)
    if code := subprocess.run([sys.executable, HERE / command[0], *map(str, command[1:])], check=False).returncode:
        sys.exit(code)


def export_untrained(models: Path) -> None:
    """Export LeNet-5 as it is before training, for its filters."""
    torch.manual_seed(1)
    request = ExportRequest(
        "untrained-digits", "classify", ImageInput(height=32, width=32, channels=1), labels=list("0123456789")
    )
    export_model(build("lenet", 10, (1, 32, 32)), request, models)


def write_images(digits: Digits, folder: Path) -> None:
    """Write test images as PNG files, those of each digit in a folder of their own: the folder becomes their source."""
    shutil.rmtree(folder, ignore_errors=True)
    for number, (image, digit) in enumerate(zip(digits.test[:MOST_IMAGES], digits.test_labels, strict=False)):
        path = folder / str(digit) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)


def first_of(folder: Path, *names: str) -> list[Path]:
    """Return the first file of each of these sub-folders."""
    return [min(path for path in (folder / name).iterdir() if path.is_file()) for name in names]


def digits_inside(page: Page, digits: Digits, models: Path) -> None:
    """Add what a classifier of digits has learned."""
    out = page.folder
    images = out / "images"
    write_images(digits, images)
    export_untrained(models)
    at = ("--models", models)
    chosen = first_of(images, "0", "3", "7")

    page.section(
        "Filters",
        "The first layer's filters, each scaled by itself. A trained filter has a shape, such as an edge or a spot. If "
        "filters look like noise, the training was too short, or something was wrong with it. The second picture is the "
        "same network before training.",
    )
    for name, caption in (("handwritten-digits", "LeNet-5, trained"), ("untrained-digits", "LeNet-5 before training")):
        page.run("avizor", "explain", "filters", name, *at, "--out", out / "filters" / name,
                 pictures=out / "filters" / name, caption=caption)  # fmt: skip

    page.section(
        "Activation maps",
        "Which places of the last feature map speak for the class. Warm places raise its score, cold ones lower it.",
    )
    page.run("avizor", "explain", "cam", "handwritten-digits", *chosen, *at, "--out", out / "cam",
             pictures=out / "cam", caption="Class activation maps of a 0, a 3 and a 7")  # fmt: skip

    page.section(
        "Hiding parts",
        "A patch hides one part of the image after the other. Where the probability of the class falls, the network had "
        "looked. The curves compare the maps: if the places that a map names are removed first, a good map makes the "
        "probability fall fast.",
    )
    page.run("avizor", "explain", "occlusion", "handwritten-digits", *chosen, *at, "--compare", "--out", out / "occlusion",
             pictures=out / "occlusion", caption="Occlusion and class activation map, side by side")  # fmt: skip

    page.section(
        "Embeddings",
        "The numbers before the last layer, of each test image. t-SNE draws similar ones close together. A good model makes "
        "good embeddings: the digits are apart, though nobody told t-SNE what they show.",
    )
    results = out / "results"
    shutil.rmtree(results, ignore_errors=True)
    page.run("avizor", "batch", images, "--model", "handwritten-digits", *at, "--embeddings", "--out", results)
    page.run("avizor", "project", results, "--label", "source", "--color", "label",
             pictures=results, caption="t-SNE of the embeddings; the colour is the digit that the image shows")  # fmt: skip
    page.run("avizor", "neighbours", results, chosen[1])

    page.section(
        "Latent space",
        "An autoencoder makes eight numbers of an image, and an image of eight numbers. The sheet walks along the two "
        "directions in which the numbers of real images differ most, and shows what the decoder draws there.",
    )
    page.run("avizor", "explain", "latent", "digit-codes", "--data", images, *at, "--out", out / "latent",
             pictures=out / "latent", caption="Reconstructions along the two strongest directions")  # fmt: skip


def sound_inside(page: Page, classifier: str, recordings: list[Path], detector: str, faulty: list[Path], models: Path) -> None:
    """Add what networks that listen have learned. detector: an autoencoder, empty for none; faulty: recordings for it."""
    out, at = page.folder, ("--models", models)
    page.section(
        "Sound: filters",
        "The same for a network that listens. The filters look at a spectrogram: their height is in mel bands, their width "
        "in time.",
    )
    page.run("avizor", "explain", "filters", classifier, *at, "--out", out / "sound-filters",
             pictures=out / "sound-filters", caption="First layer")  # fmt: skip
    page.section("Sound: where it listens", "The axes are seconds and hertz.")
    page.run("avizor", "explain", "cam", classifier, *recordings, *at, "--out", out / "sound-cam",
             pictures=out / "sound-cam", caption="Class activation map over the spectrogram")  # fmt: skip
    page.run("avizor", "explain", "occlusion", classifier, *recordings, *at, "--by", "both", "--out", out / "sound-occlusion",
             pictures=out / "sound-occlusion", caption="Stretches of time and bands of frequency are hidden")  # fmt: skip
    if detector:
        page.section(
            "Sound: what is unusual in it",
            "The autoencoder has heard normal machines only. Where it cannot reconstruct the spectrogram of a faulty one, "
            "something is new.",
        )
        page.run("avizor", "explain", "error-map", detector, *faulty, *at, "--out", out / "sound-errors",
                 pictures=out / "sound-errors", caption="Reconstruction error of faulty machines")  # fmt: skip


def main() -> None:
    """Train, look inside, and write the page."""
    parser = digits_parser(__doc__)
    parser.add_argument("--data", type=Path, help="Folder of spoken digits instead of machine sounds.")
    parser.add_argument("--out", type=Path, default=Path("looking-inside"))
    parser.set_defaults(models=None)
    arguments = parser.parse_args()
    out: Path = arguments.out
    models = arguments.models or out / "models"
    out.mkdir(parents=True, exist_ok=True)
    given = ("--mnist", arguments.mnist) if arguments.mnist else ()

    page = Page(out)
    train("handwritten_digits.py", *given, "--models", models)
    train("dimensionality_reduction.py", *given, "--models", models)
    digits_inside(page, chosen_digits(arguments.mnist), models)
    if arguments.data:
        train("spoken_digits.py", "--data", arguments.data, "--models", models)
        spoken = [min(arguments.data.glob(f"{digit}_*.wav")) for digit in (3, 7)]
        sound_inside(page, "spoken-digits", spoken, "", [], models)
    else:
        sounds = out / "sounds"
        train("machine_anomalies.py", "--data", sounds, "--models", models)
        normal = first_of(sounds / "test", "fan-1", "pump-1")
        faulty = sorted((sounds / "test" / "pump-1").glob("*bearing*"))[:2]
        sound_inside(page, "machine-type", normal, "machine-sound", faulty, models)
    print(f"\n{page.write()} has all pictures")


if __name__ == "__main__":
    main()
