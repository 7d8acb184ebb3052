"""The exercises of 11b_drawings."""

import math

import torch
from torch.nn import functional

from bigmodel_lib.exercises.engine import Exercise, Gives
from bigmodel_lib.vision.digits import digits_as_text, game_losses

# 11-text


def _levels(rng):
    n = int(rng.integers(1, 5))
    return torch.from_numpy(rng.integers(0, 17, size=(n, 8, 8))).double(), torch.from_numpy(rng.integers(0, 10, size=n))


def _text_by_lists(levels, labels):
    return torch.tensor(
        [
            [17 + label, *(int(x) for row in image for x in row)]
            for image, label in zip(levels.tolist(), labels.tolist(), strict=True)
        ]
    )


def _text_by_filling(levels, labels):
    text = torch.empty(len(levels), 65, dtype=torch.int64)
    text[:, 0] = labels + 17
    text[:, 1:] = levels.reshape(len(levels), 64)
    return text


# 11-nearest


def _rows(rng):
    n, m, width = (int(x) for x in rng.integers((1, 1, 2), (6, 8, 6)))
    return tuple(torch.from_numpy(rng.random((k, width))).float() for k in (n, m))


def nearest(rows, known):
    """How far each row is from the nearest known one: min_j ‖row - known_j‖. Shapes: (n, d), (m, d) -> (n,)."""
    return (rows[:, None] - known[None]).square().sum(dim=-1).sqrt().min(dim=1).values


def _nearest_by_cdist(rows, known):
    return torch.cdist(rows, known).amin(1)


def _nearest_by_loop(rows, known):
    return torch.stack([(known - row).norm(dim=1).min() for row in rows])


# 11-game


def _logits(rng):
    n, m = (int(x) for x in rng.integers(1, 9, size=2))
    return tuple(
        torch.from_numpy(rng.normal(scale=rng.choice([1.0, 4.0]), size=k)).float().requires_grad_() for k in (n, m)
    )


def _game(
    real,
    fake,
    critic=lambda r, f: functional.softplus(-r).mean() + functional.softplus(f).mean(),
    generator=lambda f: functional.softplus(-f).mean(),
):
    return critic(real, fake), generator(fake)


def _game_by_bce(real, fake):
    bce = functional.binary_cross_entropy_with_logits
    critic = bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))
    return critic, bce(fake, torch.ones_like(fake))


def _game_by_logsigmoid(real, fake):
    critic = -functional.logsigmoid(real).mean() - functional.logsigmoid(-fake).mean()
    return critic, -functional.logsigmoid(fake).mean()


EXERCISES = [
    Exercise(
        id="11-text", title="a digit as a text", minutes=6, difficulty=1,
        task="Write `digits_as_text(levels, labels)`. `levels` (n, 8, 8) holds grey levels from 0 to 16, `labels` (n,) the digits. Each image becomes a text of 65 tokens: "
        "first its class, as token 17 + label, then its 64 grey levels, row by row. The result holds whole numbers, `torch.int64`.",
        stub="def digits_as_text(levels, labels):\n    # levels (n, 8, 8), labels (n,) -> (n, 65), int64\n    return ...", name="digits_as_text",
        hints=(
            "What shape do the labels need so that they can stand in front of the rows of levels?",
            "`levels.flatten(1)` is (n, 64), and `labels.view(-1, 1)` is (n, 1). `torch.cat` joins them along which axis?",
            "`torch.cat([17 + labels.view(-1, 1), levels.flatten(1)], dim=1).long()`.",
        ),
        answer=digits_as_text, another=(_text_by_lists, _text_by_filling), inputs=_levels, gives=Gives(dtype=True),
        special=(("one 0", torch.zeros(1, 8, 8).double(), torch.tensor([0])),),
        wrong=(
            (lambda x, y: torch.cat([y.view(-1, 1), x.flatten(1)], 1).long(), "the class needs a token of its own: 3 is a grey level already, so a digit 3 is token 20"),
            (lambda x, y: torch.cat([16 + y.view(-1, 1), x.flatten(1)], 1).long(), "16 is a grey level, the darkest: the classes begin at 17"),
            (lambda x, y: torch.cat([x.flatten(1), 17 + y.view(-1, 1)], 1).long(), "the class comes first: what stands at the end can't steer what was written before it"),
            (lambda x, y: digits_as_text(x.transpose(1, 2), y), "yours goes down the columns: row by row was wanted"),
            (lambda x, y: digits_as_text(x, y)[:, 1:], "the class is missing: 65 tokens a text"),
            (lambda x, y: digits_as_text(x, y).flatten(), "all texts are in one row: keep them apart, (n, 65)"),
            (lambda x, y: torch.cat([17 + y.view(-1, 1), 16 - x.flatten(1)], 1).long(), "the levels are turned round: 0 stays 0"),
        ),
        right="65 tokens, and nothing tells the model that they were ever an image",
        ours="bigmodel_lib.vision.digits:digits_as_text",
    ),
    Exercise(
        id="11-even", title="the loss of not knowing", minutes=3, difficulty=1,
        task="On paper. A pixel is one of 17 grey levels. A model that knows nothing gives each the same probability. What's its loss, in nats a pixel?",
        stub="loss_of_nothing = ...  # a number", name="loss_of_nothing",
        hints=(
            "What probability does it give to the level that comes? And what's the loss of a token with that probability?",
            "The loss is minus the natural logarithm of the probability.",
            "−ln(1/17) = ln 17.",
        ),
        answer=math.log(17), another=(2.83, 2.8332), tolerance=0.006,
        wrong=(
            (math.log2(17), "that's in bits: nats use the natural logarithm"),
            (math.log(16), "levels 0 to 16 are 17 levels"),
            (1 / 17, "that's the probability: the loss is minus its logarithm"),
            (17, "that's the perplexity: the loss is its logarithm"),
            (-math.log(17), "a loss is *minus* the logarithm of the probability, so it's positive"),
            (math.log(256), "these images have 17 levels, not 256"),
            (math.log10(17), "the natural logarithm was wanted, not the one to base 10"),
        ),
        right="ln 17: perplexity 17, as if it threw a die with 17 faces",
    ),
    Exercise(
        id="11-above", title="the pixel above", minutes=3, difficulty=1,
        task="On paper. The text of a digit has its class at place 0 and the pixel of row 0, column 0 at place 1. How many places before a pixel does the pixel directly above it stand?",
        stub="places_before = ...  # a whole number", name="places_before",
        hints=(
            "At which place is the pixel in row 0, column 3? And the one in row 1, column 3?",
            "A row is 8 pixels long, and they are read from left to right.",
            "Places 4 and 12.",
        ),
        answer=8, another=(8.0, 12 - 4),
        wrong=(
            (1, "that's the pixel to the left"),
            (7, "that one is above and one to the right"),
            (9, "that one is above and one to the left: the class in front moves both pixels alike"),
            (64, "that's the whole image"),
            (17, "that's the number of grey levels"),
            (16, "that's two rows up"),
        ),
        right="the model isn't told: it has to find out that place t − 8 matters as much as t − 1",
    ),
    Exercise(
        id="11-game", title="two losses", minutes=8, difficulty=2,
        task="Write `game_losses(on_real, on_fake)`: the critic's loss and the generator's, from the critic's logits. σ(logit) is the probability that the critic gives to \"real\". "
        "The critic's loss is the mean of −ln σ over the real images, plus the mean of −ln(1 − σ) over the generated ones. The generator wants its images taken for real: the mean of −ln σ over the generated ones. "
        "`functional.logsigmoid(x)` is ln σ(x), and 1 − σ(x) = σ(−x).",
        stub="def game_losses(on_real, on_fake):\n    # logits (n,), (m,) -> (the critic's loss, the generator's loss)\n    return ...", name="game_losses",
        hints=(
            "Three means of minus a logarithm. Which two are the critic's?",
            "ln(1 − σ(x)) is `functional.logsigmoid(-x)`.",
            "critic = −logsigmoid(on_real).mean() − logsigmoid(−on_fake).mean(); generator = −logsigmoid(on_fake).mean().",
        ),
        answer=game_losses, another=(_game_by_bce, _game_by_logsigmoid), inputs=_logits,
        special=(("a critic that's very sure", torch.tensor([200.0]).requires_grad_(), torch.tensor([-200.0]).requires_grad_()),),
        partial=(
            (lambda r, f: (-r.sigmoid().log().mean() - (1 - f.sigmoid()).log().mean(), -f.sigmoid().log().mean()), "for ordinary logits it's right; a very sure critic makes σ 0 and its logarithm infinite: use functional.logsigmoid"),
        ),
        wrong=(
            (lambda r, f: _game(r, f, generator=lambda f: -functional.softplus(f).mean()), "that's ln(1 − σ), the game as first written down: where the critic wins it hardly pulls. −ln σ was wanted for the generator"),
            (lambda r, f: _game(r, f, critic=lambda r, f: functional.softplus(-r).mean()), "the critic must also be wrong about something: the generated images are missing from its loss"),
            (lambda r, f: _game(r, f, critic=lambda r, f: functional.softplus(-r).mean() + functional.softplus(-f).mean()), "the critic should say \"not real\" to generated images: 1 − σ(x) = σ(−x)"),
            (lambda r, f: _game(r, f, critic=lambda r, f: functional.softplus(r).mean() + functional.softplus(-f).mean()), "the critic's targets are swapped: yours praises it for calling real images generated"),
            (lambda r, f: _game(r, f, generator=lambda f: functional.softplus(f).mean()), "the generator wants its images taken for real: −ln σ of their logits"),
            (lambda r, f: game_losses(r, f)[::-1], "the right losses, in the wrong order: the critic's comes first"),
            (lambda r, f: (functional.softplus(-r).sum() + functional.softplus(f).sum(), functional.softplus(-f).sum()), "means were wanted, not sums"),
            (lambda r, f: tuple(-x for x in game_losses(r, f)), "the minus is missing: a loss falls as things get better"),
            (lambda r, f: (game_losses(r, f)[0] / 2, game_losses(r, f)[1]), "the critic's two means are added, not averaged"),
            (lambda r, f: tuple(x.detach() for x in game_losses(r, f)), "the values are right, but no gradient reaches the logits: don't detach them"),
        ),
        right="at the start σ is about a half everywhere: the critic's loss is near 2 ln 2 = 1.39, the generator's near ln 2 = 0.69",
        ours="bigmodel_lib.vision.digits:game_losses",
    ),
    Exercise(
        id="11-nearest", title="is it copying?", minutes=6, difficulty=2,
        task="Write `nearest(rows, known)`: for each row of `rows` (n, d) its distance to the nearest row of `known` (m, d), as a tensor (n,). Distance is the usual one, the root of the sum of squared differences.",
        stub="def nearest(rows, known):\n    # rows (n, d), known (m, d) -> (n,)\n    return ...", name="nearest",
        hints=(
            "How many distances are there in all, and along which of their axes is the smallest one wanted?",
            "`rows[:, None] - known[None]` is (n, m, d). Square, sum over the last axis, root: (n, m).",
            "Then `.min(dim=1).values`.",
        ),
        answer=nearest, another=(_nearest_by_cdist, _nearest_by_loop), inputs=_rows,
        special=(("a row that is known", torch.tensor([[0.0, 1.0]]), torch.tensor([[5.0, 5.0], [0.0, 1.0]])),),
        wrong=(
            (lambda x, y: torch.cdist(x, y).min(0).values, "the minimum runs over the wrong axis: one number for each of `rows`"),
            (lambda x, y: torch.cdist(x, y), "those are all distances, (n, m): the smallest in each row was wanted"),
            (lambda x, y: torch.cdist(x, y).min(), "one number for each of `rows`, not one for all"),
            (lambda x, y: torch.cdist(x, y).argmin(1), "that's *which* one is nearest: how far away is it?"),
            (lambda x, y: torch.cdist(x, y).mean(1), "that's the mean distance: the nearest was wanted"),
            (lambda x, y: torch.cdist(x, y).square().min(1).values, "the root is missing"),
            (lambda x, y: torch.cdist(x, y, p=1).min(1).values, "that's the sum of the absolute differences: take squares, sum, root"),
            (lambda x, y: torch.cdist(x, y).max(1).values, "that's the farthest one"),
        ),
        right="a copy would be at distance 0",
        ours="bigmodel_lib.exercises.nb11b:nearest",
    ),
]  # fmt: skip
