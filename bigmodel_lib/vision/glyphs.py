"""What there is to look at: glyphs from the fonts that Matplotlib ships, placed anywhere, alone or in scenes.

A generator draws what is shown and how (NumPy); `draw` makes the images from that, on any device (PyTorch).
"""

import functools
import pathlib

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

CLASSES = "0123456789ABCDEFGHJKLMNPQRTUVWXY"  # without I, O, S and Z, which look like 1, 0, 5 and 2
FONTS = (
    *(f"DejaVuSans{kind}" for kind in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{kind}" for kind in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{kind}" for kind in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{kind}" for kind in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmss10", "cmtt10", "cmb10"),
)
BITMAP, INK = 32, 28  # pixels of a bitmap's side, and of the longer side of the glyph in its middle


@functools.cache
def glyph_bank(device: torch.device | str = "cpu") -> Tensor:
    """A bitmap of every class in every font, ink 1 and paper 0: (classes · fonts, 32, 32), class by class."""
    if str(device) != "cpu":
        return glyph_bank().to(device)
    import matplotlib
    from matplotlib.ft2font import FT2Font

    folder = pathlib.Path(matplotlib.get_data_path()) / "fonts/ttf"
    bank = torch.zeros(len(CLASSES), len(FONTS), BITMAP, BITMAP)
    for column, name in enumerate(FONTS):
        font = FT2Font(str(folder / f"{name}.ttf"))
        font.set_size(64, 72)
        for row, glyph in enumerate(CLASSES):
            font.set_text(glyph)
            font.draw_glyphs_to_bitmap(antialiased=True)
            bank[row, column] = fitted(torch.from_numpy(np.array(font.get_image())).float() / 255)
    return bank.flatten(0, 1)


@functools.cache
def digit_bank() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits of 8 × 8 pixels, fitted as the glyphs are: ((1797, 32, 32), labels)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    large = functional.interpolate(torch.tensor(digits.images)[:, None].float() / 16, scale_factor=4, mode="bicubic")
    return torch.stack([fitted(one.clamp(0, 1)) for one in large[:, 0]]), torch.tensor(digits.target)


def fitted(image: Tensor, side: int = BITMAP, ink: int = INK) -> Tensor:
    """What is on an image, cut out, scaled to `ink` pixels on its longer side and put in the middle: (side, side)."""
    canvas = torch.zeros(side, side)
    rows, columns = (image > 0.1).any(dim=1).nonzero(), (image > 0.1).any(dim=0).nonzero()
    if len(rows) == 0:
        return canvas
    cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(n * ink / max(cut.shape))) for n in cut.shape)
    small = functional.interpolate(cut[None, None], (height, width), mode="bilinear", antialias=True)[0, 0]
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = small
    return canvas


def poses(rng: np.random.Generator, size: ndarray, centre: ndarray, image: int, turn: float = 0.12) -> ndarray:
    """Where glyphs lie in images of `image` pixels: the maps from places there to places in their bitmaps.

    size (...,) pixels of a glyph's longer side, centre (..., 2) its place (x, y) in pixels; slant up to ±0.3, width
    0.85 to 1.15 of the font's, turned by up to ± `turn` radians. Places run from -1 to 1, as in `grid_sample`.
    Shapes: -> (..., 2, 3), float32.
    """
    scale, shape = np.asarray(size) / image * BITMAP / INK, np.shape(size)
    slant, angle = rng.uniform(-0.3, 0.3, shape), rng.uniform(-turn, turn, shape)
    wide = rng.uniform(0.85, 1.15, shape)
    zero, c, s = np.zeros(shape), np.cos(angle), np.sin(angle)
    stretch = np.stack([np.stack([scale * wide, -scale * slant], -1), np.stack([zero, scale], -1)], -2)
    linear = np.linalg.inv(np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2) @ stretch)
    shift = -linear @ (2 * np.asarray(centre) / image - 1)[..., None]
    return np.concatenate([linear, shift], axis=-1).astype(np.float32)


def single_glyphs(
    rng: np.random.Generator, n: int, shift: float = 2.0, sizes: tuple[float, float] = (14, 22), image: int = 28
) -> tuple[ndarray, ...]:
    """(rows of the bank, poses, labels) of n images with one glyph, up to ± `shift` pixels off the middle."""
    labels, fonts = rng.integers(len(CLASSES), size=n), rng.integers(len(FONTS), size=n)
    centre = image / 2 + rng.uniform(-shift, shift, size=(n, 2))
    return labels * len(FONTS) + fonts, poses(rng, rng.uniform(*sizes, n), centre, image), labels


def draw(ink: Tensor, where: Tensor, image: int = 28, noise: float = 0.0, rough: float = 0.0) -> Tensor:
    """Images of bitmaps at their poses: ink 1, paper 0, plus normal noise of deviation up to `noise`, drawn for each.

    rough: how far, at most, lines are bent (0.16 of the half side, typically, at 1) and thickened or thinned.
    Shapes: ink (n, 32, 32), where (n, 2, 3) -> (n, image, image), on their device.
    """
    n, device = len(ink), ink.device
    grid = functional.affine_grid(where, [n, 1, image, image], align_corners=False)
    if rough:
        bent = rough * torch.randn(n, 2, 4, 4, device=device) * torch.rand(n, 1, 1, 1, device=device)
        smooth = functional.interpolate(bent, (image, image), mode="bicubic", align_corners=False)
        grid = grid + 0.16 * smooth.permute(0, 2, 3, 1)
    drawn = functional.grid_sample(ink[:, None], grid, align_corners=False)
    if rough:
        share = rough * (1.4 * torch.rand(n, 1, 1, 1, device=device) - 0.4)
        thick, thin = functional.max_pool2d(drawn, 3, 1, 1), -functional.max_pool2d(-drawn, 3, 1, 1)
        drawn = drawn + share.clamp(min=0) * (thick - drawn) + (-share).clamp(min=0) * (thin - drawn)
    if noise:
        drawn = drawn + noise * torch.rand(n, 1, 1, 1, device=device) * torch.randn_like(drawn)
    return drawn[:, 0]


def scenes(rng: np.random.Generator, n: int, image: int = 48, most: int = 5) -> tuple[ndarray, ...]:
    """(rows of the bank, poses, labels) of n scenes with 1 to `most` glyphs of 12 to 24 pixels; label -1 for none."""
    shape = (n, most)
    labels, fonts = rng.integers(len(CLASSES), size=shape), rng.integers(len(FONTS), size=shape)
    which = labels * len(FONTS) + fonts
    labels[np.arange(most) >= rng.integers(1, most + 1, size=(n, 1))] = -1
    size = rng.uniform(12, 24, shape)
    room = (image - size)[..., None]
    centre = size[..., None] / 2 + room * rng.random((*shape, 2))
    return which, poses(rng, size, centre, image), labels


def compose(which: Tensor, where: Tensor, labels: Tensor, image: int = 48, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """(scenes (n, image, image), boxes (n, most, 4) as cx, cy, w, h in shares of the side): the ink of all glyphs.

    A box is where its glyph's ink is above 0.25, to the pixel. Boxes of glyphs that are not there are 0.
    """
    ink = glyph_bank(where.device)[which.flatten()] * (labels >= 0).flatten()[:, None, None]
    layers = draw(ink, where.flatten(0, 1), image).view(*labels.shape, image, image)
    inked = layers > 0.25
    sides = []
    for dim in (-2, -1):  # columns (x), then rows (y)
        on = inked.any(dim=dim).float()
        first = on.argmax(dim=-1)
        last = image - on.flip(-1).argmax(dim=-1)
        sides.append((first, last))
    (left, right), (top, bottom) = sides
    boxes = torch.stack([left + right, top + bottom, 2 * (right - left), 2 * (bottom - top)], dim=-1) / (2 * image)
    scene = layers.amax(dim=1)
    return scene + noise * torch.randn_like(scene), boxes * (labels >= 0)[..., None]
