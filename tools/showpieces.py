"""The course's showpieces as pictures, cut from the notebooks' committed outputs: `make slides` writes runs/slides/.

Each slide is 1600 × 900: a line of what to see, and the picture that the notebook prints of its toy.
With `--poster FILE` all of them stand in one picture, as the README shows it.
"""

import argparse
import base64
import io
import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHOWPIECES = {  # name: (notebook, what its cell holds, the line on its slide)
    "gaze": ("01_attention_formula", "AnnasGaze(", "Which words should a word look at?"),
    "every_number": ("03_mlp_attention_numpy", "EveryNumber(", "Every number of a transformer"),
    "growing_up": ("06_pretraining", "GrowingUp(", "A model grows up"),
    "garden": ("08_generation", "Garden(", "One sentence, ten futures"),
    "surgeon": ("09_attention_maps", "Surgeon(", "What happens without this head?"),
}


def picture(notebook: str, holds: str):
    """The first picture that a cell with these words printed, as an array of pixels. Raises LookupError without one."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        for output in cell.get("outputs", ()) if holds in "".join(cell["source"]) else ():
            if "image/png" in output.get("data", {}):
                return plt.imread(io.BytesIO(base64.b64decode("".join(output["data"]["image/png"]))))
    raise LookupError(f"{notebook}: no cell with {holds!r} has printed a picture; run make notebooks NB={notebook[:3]}")


def place(figure: Figure, box: tuple, name: str, size: float) -> None:
    """Draw a showpiece, as large as fits into (left, bottom, width, height), under its line."""
    notebook, holds, line = SHOWPIECES[name]
    axes = figure.add_axes(box)
    axes.imshow(picture(notebook, holds))
    axes.set_anchor("NW")
    axes.set_axis_off()
    axes.set_title(f"{line}  ({notebook[:2]})", fontsize=size, loc="left")


def slide(name: str, path: pathlib.Path) -> None:
    """One showpiece on 1600 × 900 pixels."""
    figure = plt.figure(figsize=(16, 9), dpi=100)
    place(figure, (0.03, 0.02, 0.94, 0.88), name, 26)
    figure.savefig(path)
    plt.close(figure)


def poster(path: pathlib.Path) -> None:
    """All of them on one picture: the tall one at the right."""
    figure = plt.figure(figsize=(16, 9.6), dpi=80)
    others = [name for name in SHOWPIECES if name != "every_number"]
    for i, name in enumerate(others):
        place(figure, (0.01 + 0.355 * (i % 2), 0.5 - 0.49 * (i // 2), 0.34, 0.44), name, 13)
    place(figure, (0.73, 0.02, 0.26, 0.92), "every_number", 13)
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poster", type=pathlib.Path, help="write all of them into this one picture instead")
    options = parser.parse_args()
    if options.poster:
        poster(options.poster)
        return 0
    folder = ROOT / "runs" / "slides"
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHOWPIECES:
        slide(name, folder / f"{name}.png")
    print(f"{len(SHOWPIECES)} slides in {folder.relative_to(ROOT)}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
