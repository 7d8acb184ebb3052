"""The exercises of 11_beyond_text."""

import numpy as np
import torch

from bigmodel_lib.exercises.engine import Exercise
from bigmodel_lib.vision.models import cut_patches, rotations_2d

# 11-patches


def _images(rng):
    p, side, n = (int(x) for x in rng.integers((2, 2, 1), (4, 4, 4)))
    return torch.from_numpy(rng.normal(size=(n, p * side, p * side))).float(), p


def _counting():
    return torch.arange(16.0).view(1, 4, 4)


def _patches_by_loops(images, p):
    side = images.shape[1] // p
    cut = [images[:, p * r : p * r + p, p * c : p * c + p].flatten(1) for r in range(side) for c in range(side)]
    return torch.stack(cut, dim=1)


def _patches_by_unfold(images, p):
    return torch.nn.functional.unfold(images[:, None], p, stride=p).transpose(1, 2)


def _patches_by_slices(images, p):
    return images.unfold(1, p, p).unfold(2, p, p).flatten(3).flatten(1, 2)


def _squares(images, p):
    return cut_patches(images, p).view(len(images), -1, p, p)


def _by_columns(images, p):
    side = images.shape[1] // p
    return cut_patches(images, p).view(len(images), side, side, -1).transpose(1, 2).flatten(1, 2)


# 11-places


def _places(rng):
    n, quarter = (int(x) for x in rng.integers((1, 1), (7, 5)))
    return (
        torch.from_numpy(rng.integers(0, 8, size=(n, 2))).float(),
        4 * quarter,
        float(rng.choice([10.0, 100.0, 1000.0])),
    )


def _turned(places, d_head, base, speeds=None, order=lambda row, column: (row, column), layout=None):
    """An attempt with one thing changed: the speeds, the order of row and column, or how the tables are laid out."""
    s = base ** (-4 * torch.arange(d_head // 4) / d_head) if speeds is None else speeds(d_head, base)
    row, column = order(places[:, :1] * s, places[:, 1:] * s)
    angles = torch.cat([row, column], dim=-1)
    if layout is not None:
        return layout(angles)
    return torch.cat([angles.cos(), angles.cos()], dim=-1), torch.cat([-angles.sin(), angles.sin()], dim=-1)


def _turned_by_parts(places, d_head, base):
    cosine, sine = torch.zeros(len(places), d_head), torch.zeros(len(places), d_head)
    half = d_head // 2
    for i in range(d_head // 4):
        speed = base ** (-4 * i / d_head)
        for axis in (0, 1):
            j = i + axis * d_head // 4
            cosine[:, j] = cosine[:, j + half] = (places[:, axis] * speed).cos()
            sine[:, j + half] = (places[:, axis] * speed).sin()
            sine[:, j] = -sine[:, j + half]
    return cosine, sine


def _turned_by_outer(places, d_head, base):
    speeds = torch.exp(-torch.arange(0, d_head, 4) / d_head * np.log(base))
    angles = (places[:, :, None] * speeds).flatten(1)
    signs = torch.tensor([-1.0, 1.0]).repeat_interleave(d_head // 2)
    return angles.cos().repeat(1, 2), angles.sin().repeat(1, 2) * signs


EXERCISES = [
    Exercise(
        id="11-patches", title="an image as a sequence", minutes=10, difficulty=2,
        task="Write `cut_patches(images, p)`. It cuts each image into squares of p × p pixels and lays them in a row: first the top row of squares from left "
        "to right, then the next row. Each square becomes a list of its p² pixels, again row by row. Shapes: (B, S, S) → (B, (S/p)², p²); p divides S.",
        stub="def cut_patches(images, p):\n    # images (B, S, S) -> patches (B, (S / p) ** 2, p * p)\n    return ...", name="cut_patches",
        hints=(
            "Where in the image is the pixel in row 1, column 2 of the square in row r, column c?",
            "`images.view(B, S // p, p, S // p, p)` names the axes: square's row, pixel's row, square's column, pixel's column. Which two have to change places?",
            "Transpose axes 2 and 3 of that view, then `reshape(B, (S // p) ** 2, p * p)`.",
        ),
        answer=cut_patches, another=(_patches_by_loops, _patches_by_unfold),
        inputs=_images, special=(("a 4 × 4 image of the numbers 0 to 15, with p = 2", _counting(), 2),),
        wrong=(
            (lambda x, p: x.reshape(len(x), -1, p * p), "yours takes p² neighbours along a row (or several whole rows): a patch is p pixels wide *and* p high, so axes have to change places first"),
            (_by_columns, "each patch is right, but yours go down the columns of squares: the top row of squares comes first"),
            (lambda x, p: cut_patches(x.transpose(1, 2), p), "the image is transposed: rows and columns are swapped, of squares and of pixels"),
            (lambda x, p: cut_patches(x, p).unflatten(2, (p, p)).transpose(2, 3).flatten(2), "the patches come in the right order, but inside each one rows and columns are swapped"),
            (_squares, "the squares are right; lay the pixels of each in one row: (B, N, p, p) → (B, N, p²)"),
            (lambda x, p: cut_patches(x, p).transpose(1, 2), "the last two axes are swapped: a patch is a row, as a token is"),
            (lambda x, p: cut_patches(x, p)[0], "only the first image is left: keep the axis B"),
            (lambda x, p: cut_patches(x, p).mean(dim=-1), "yours keeps one number a patch: all p² pixels were wanted"),
            (lambda x, p: cut_patches(x, p).flatten(1), "all patches of an image are in one row: keep them apart, (B, N, p²)"),
            (lambda x, p: x.view(len(x), x.shape[1] // p, p, x.shape[1] // p, p).transpose(2, 3).contiguous(), "the squares are right: now join the first two of their four axes, and the last two"),
        ),
        right="that is the whole tokenizer of an image",
        ours="bigmodel_lib.vision.models:cut_patches",
    ),
    Exercise(
        id="11-tokens", title="what smaller patches cost", minutes=3, difficulty=1,
        task="On paper. An image of 224 × 224 pixels in patches of 16 × 16 is 196 tokens. You want to see finer and take 8 × 8. How many times as many attention scores does a head compute?",
        stub="times_as_many = ...  # a number", name="times_as_many",
        hints=(
            "How many tokens are there now? And how does the number of scores grow with the tokens?",
            "Half the side gives patches of a quarter of the area. Every token is compared with every token.",
            "784 tokens instead of 196: 784² / 196².",
        ),
        answer=16, another=(16.0, 784**2 / 196**2),
        wrong=(
            (4, "that's the tokens, 784 against 196: each of them is compared with each"),
            (2, "the side halves, but the number of patches goes with the area, and the scores with its square"),
            (8, "2³? The tokens grow by 2², and the scores by the square of that"),
            (784, "that's how many tokens there are: how many times as many *scores*?"),
            (614656, "that's the number of scores: how many times as many as before?"),
            (1 / 16, "the other way round: smaller patches make more tokens"),
            (256, "you squared once too often: the tokens grow by 4, the scores by 4²"),
        ),
        right="(224/8)⁴ against (224/16)⁴: halving the patch costs a factor of 16",
    ),
    Exercise(
        id="11-places", title="turned by row and column", minutes=12, difficulty=3,
        task="Write `rotations_2d(places, d_head, base)`, the two tables that `rotate` needs. `places` (N, 2) holds each patch's row and column. A head of K numbers has K/2 pairs. "
        "The first half of them turns with the row, the second half with the column, by the angles place · base^(−4i/K), i = 0, …, K/4 − 1. So all angles together, "
        "row's first, are (N, K/2). `rotate` has the first numbers of all pairs in front and the second numbers behind. It wants the cosines twice, side by side, (N, K), and the sines twice, the first time with a minus.",
        stub="def rotations_2d(places, d_head, base=100.0):\n    # places (N, 2) -> cosine (N, K), sine (N, K)\n    return ...", name="rotations_2d",
        hints=(
            "How many different speeds are there? Rows and columns use the same ones.",
            "`places[:, :1]` is (N, 1) and the speeds are (K/4,): their product is (N, K/4). Join that of the rows and that of the columns before you take cosines.",
            "speeds = base ** (-4 * torch.arange(d_head // 4) / d_head); angles = torch.cat([rows' · speeds, columns' · speeds], dim=-1); then [cos, cos] and [−sin, sin].",
        ),
        answer=rotations_2d, another=(_turned_by_parts, _turned_by_outer),
        inputs=_places, special=(("a patch at row 0, column 3", torch.tensor([[0.0, 3.0]]), 8, 100.0),),
        wrong=(
            (lambda a, k, b: _turned(a, k, b, order=lambda r, c: (c, r)), "row and column are swapped: the row turns the first half of the pairs"),
            (lambda a, k, b: _turned(a, k, b, order=lambda r, c: (r, r)), "the column never counts: the second half of the pairs turns with it"),
            (lambda a, k, b: _turned(a, k, b, order=lambda r, c: (r + c, r + c)), "yours adds row and column: (0, 1) and (1, 0) would be the same place"),
            (lambda a, k, b: _turned(a, k, b, speeds=lambda k, b: b ** (-2 * torch.arange(k // 4) / k)), "the exponent is −4i/K: yours is −2i/K, as in one dimension, where there are twice as many speeds"),
            (lambda a, k, b: _turned(a, k, b, speeds=lambda k, b: b ** (4 * torch.arange(k // 4) / k)), "the exponent wants a minus: from one pair to the next the rotation slows down"),
            (lambda a, k, b: _turned(a, k, b, layout=lambda t: (torch.cat([t.cos(), t.cos()], -1), torch.cat([t.sin(), t.sin()], -1))), "the first half of the sines wants a minus: (x, y) turns to (x cos − y sin, y cos + x sin)"),
            (lambda a, k, b: _turned(a, k, b, layout=lambda t: (torch.cat([t.cos(), t.cos()], -1), torch.cat([t.sin(), -t.sin()], -1))), "the minus is on the wrong half of the sines: yours turns the other way"),
            (lambda a, k, b: _turned(a, k, b, layout=lambda t: (t.cos().repeat_interleave(2, -1), (t.sin().repeat_interleave(2, -1) * torch.tensor([-1.0, 1.0]).repeat(t.shape[1])))), "yours puts the two numbers of a pair side by side: `rotate` has all first numbers in front and all second ones behind"),
            (lambda a, k, b: _turned(a, k, b, layout=lambda t: (t.cos(), t.sin())), "those are the angles' cosines and sines, (N, K/2): both tables hold them twice"),
            (lambda a, k, b: _turned(a, k, b, layout=lambda t: (torch.cat([t, t], -1), torch.cat([-t, t], -1))), "those are the angles themselves: take cos and sin of them"),
            (lambda a, k, b: tuple(reversed(rotations_2d(a, k, b))), "the tables are swapped: first the cosines, then the sines"),
        ),
        right="nothing else in the block has to know that the world has two dimensions",
        ours="bigmodel_lib.vision.models:rotations_2d",
    ),
    Exercise(
        id="11-kernel", title="the weights of a convolution", minutes=3, difficulty=1,
        task="On paper. A convolution looks at 3 × 3 pixels of 16 channels and writes 32 channels, without bias. How many weights does it have? (The image is 28 × 28.)",
        stub="weights = ...  # a whole number", name="weights",
        hints=(
            "One number of the output is a weighted sum. Over how many inputs?",
            "3 · 3 · 16 of them. How many such sums has the convolution to learn? And does each place of the image have its own?",
            "9 · 16 for one output channel, times 32 channels. Every place uses the same ones.",
        ),
        answer=4608, another=(4608.0, 9 * 16 * 32),
        wrong=(
            (144, "that's for one output channel: there are 32"),
            (288, "each output channel looks at all 16 input channels"),
            (512, "16 · 32 would be a 1 × 1 convolution: yours looks at 3 × 3 pixels"),
            (9, "that's one input channel and one output channel"),
            (4640, "there's no bias here"),
            (3612672, "every place of the image uses the same weights: don't multiply by 28 · 28"),
            (1536, "3 × 3 are nine pixels, not three"),
        ),
        right="9 · 16 · 32, whatever the size of the image: that the places share them is what a convolution knows for free",
    ),
    Exercise(
        id="11-shift", title="a shift it can't see", minutes=4, difficulty=2,
        task="On paper. A transformer cuts 28 × 28 pixels into patches of 4 × 4. Its attention knows only how far apart patches are, not where they are, and at the end it takes the mean over all. "
        "A glyph on empty paper is moved to the right. What's the smallest shift, in pixels, after which every patch of the glyph comes up again, number by number, only elsewhere in the sequence?",
        stub="pixels = ...  # a whole number above 0", name="pixels",
        hints=(
            "Move the glyph by one pixel. Is any patch that it touches still the same list of numbers?",
            "The cuts stay where they are, and the glyph moves. When do the cuts go through it in the same places again?",
            "A patch is 4 pixels wide. After that shift each patch holds what its left neighbour held.",
        ),
        answer=4, another=(4.0, 28 / 7),
        wrong=(
            (1, "after one pixel every patch that the glyph touches holds other numbers"),
            (2, "half a patch is the worst case: the cuts go through the glyph elsewhere"),
            (7, "that's the number of patches along a side: how wide is one?"),
            (28, "that would be the whole image: much less will do"),
            (8, "that works, too, but half of it does already"),
            (16, "that's the pixels of a patch: how wide is it?"),
            (0, "a shift of 0 is none: the smallest one above 0 was wanted"),
        ),
        right="then each patch holds what its neighbour held, and the distances between patches are the same. Only the edge of the paper tells the two apart",
    ),
]  # fmt: skip
