"""The exercises of 03_mlp_attention_numpy."""

import math

import numpy as np

from bigmodel_lib.by_hand.model import attention, attention_layer, block, layer_norm, mlp, part
from bigmodel_lib.config import ModelConfig
from bigmodel_lib.exercises.engine import Exercise, Wrong, close, diagnose, number

SMALL = ModelConfig(vocab_size=9, context_length=8, d_model=8, n_layers=1, n_heads=2, d_ff=12)


def _weights(seed):
    rng = np.random.default_rng(seed)
    shapes = {f"attention.w_{letter}": (8, 8) for letter in "qkvo"} | {"attention.shift": (8,), "mlp.shift": (8,)}
    shapes |= {"mlp.w_up": (8, 12), "mlp.w_down": (12, 8)}
    return {name: rng.normal(size=shape) / 2 for name, shape in shapes.items()}


def _check_xor(attempt):
    try:
        given = np.asarray(attempt, dtype=float).ravel()
    except (TypeError, ValueError):
        raise Wrong(f"a list of two numbers was wanted, {attempt!r} was given") from None
    if given.shape != (2,):
        raise Wrong(f"two numbers were wanted, one for each hidden unit; {given.size} were given")
    wanted = [0, 1, 1, 0]
    first, second = np.array([0, 1, 1, 2]), np.array([0, 0, 0, 1])
    said = given[0] * first + given[1] * second
    if close(said, wanted):
        return "units (0, 0), (1, 0), (1, 0), (2, 1): one unit counts, the other takes the excess back twice"
    words = ("bad", "good", "not-bad", "not-good")
    wrong = [i for i in range(4) if abs(said[i] - wanted[i]) > 1e-6]
    raise Wrong(f"“{words[wrong[0]]}” comes out as {said[wrong[0]]:g}, wanted {wanted[wrong[0]]}")


def _check_residual(attempt):
    if not hasattr(attempt, "keys") or set(attempt) != {"w1", "b1", "f"}:
        raise Wrong('a dictionary with "w1", "b1" and "f" was wanted')
    rng = np.random.default_rng(0)
    x, w2 = rng.normal(size=(5, 4)), rng.normal(size=(4, 4))
    z = x @ w2
    f = attempt["f"]
    if not callable(f):
        raise Wrong("f is a function of an array: lambda x: … or one that you know")
    w1 = np.asarray(attempt["w1"], dtype=float)
    if w1.shape != (4, 4):
        raise Wrong(f"W1 has the shape {w1.shape}: (4, 4) was wanted, since 4 numbers go in and 4 come out")
    if not close(f(x), x):
        raise Wrong("your f changes numbers: x + attention has no activation outside, so f must give back what it gets")
    out = f(x @ w1 + attempt["b1"] * attention(z, z, z))
    if close(out, x @ w1) and not close(out, x):
        raise Wrong("with b1 = 0 the attention branch is shut, and W1 still changes x")
    if close(out, x):
        raise Wrong("with b1 = 0 the attention branch is shut: x comes out, and x + attention was wanted")
    if not close(out, x + attention(z, z, z)):
        if close(w1, np.eye(4)):
            raise Wrong("x comes through as it is; now the gate: attention should be added once, as it is")
        raise Wrong("x itself must come through the left branch: which matrix changes nothing?")
    return "W1 = I, b1 = 1, f the identity: (4.1) is then x + attention, a residual block without a norm"


def _check_block(attempt):
    for seed in range(3):
        p, x = _weights(seed), np.random.default_rng(seed + 10).normal(size=(2, 5, 8)) * 2 + 0.5
        mask = np.triu(np.full((5, 5), -np.inf), k=1)
        try:
            got = attempt(x.copy(), dict(p), SMALL, None, mask)
        except KeyError as error:
            raise Wrong(f'no weight {error} is there: hand on part(p, "attention.") and part(p, "mlp.")') from None
        if np.shape(got) != x.shape:
            raise Wrong(f"{x.shape} goes in and the same shape must come out, yours gives {np.shape(got)}")
        if close(got, block(x, p, SMALL, None, mask)):
            continue

        def a(y, p=p, mask=mask):
            return attention_layer(y, part(p, "attention."), SMALL, None, mask)

        def m(y, p=p):
            return mlp(y, part(p, "mlp."), SMALL)

        after, normed = x + a(layer_norm(x)), layer_norm(x)
        first = x + m(normed)
        replaced = a(normed)
        for wrong, words in (
            (m(layer_norm(replaced)), "both branches replace the stream: what they give is added to x"),
            (layer_norm(after) + m(layer_norm(after)), "the MLP adds to a normalised copy: it reads one, and is added to x"),
            (layer_norm(normed + a(normed)) + m(layer_norm(normed + a(normed))), "the stream itself is normalised, twice"),
            (replaced + m(layer_norm(replaced)), "the attention's output replaces the stream: it is added to x"),
            (m(layer_norm(after)), "the MLP's output replaces the stream: it is added to x"),
            (after, "the MLP is missing"),
            (x + a(x) + m(x + a(x)), "nobody normalises: each branch reads layer_norm(x)"),
            (after + m(after), "the MLP reads the stream as it is: it reads layer_norm of it"),
            (after + m(normed), "both branches read the old x: the MLP must see what attention has written"),
            (first + a(layer_norm(first)), "the order is turned round: attention first, then the MLP"),
            (normed + a(normed) + m(layer_norm(normed + a(normed))),
             "the stream itself is normalised: only what a branch reads is, x goes on as it was"),
            (layer_norm(layer_norm(x + a(x)) + m(layer_norm(x + a(x)))),
             "that is the norm after each addition, as in 2017; here it stands before each branch"),
            (x + attention_layer(normed, part(p, "attention."), SMALL, None, 0.0),
             "the mask is not handed on, and the MLP is missing"),
        ):  # fmt: skip
            if close(got, wrong):
                raise Wrong(words)
        open_ = x + attention_layer(normed, part(p, "attention."), SMALL, None, 0.0)
        if close(got, open_ + m(layer_norm(open_))):
            raise Wrong("the mask is not handed on: tokens see the future")
        raise Wrong(f"the values differ by up to {np.abs(got - block(x, p, SMALL, None, mask)).max():.3g}")
    return "each branch reads a normalised copy and adds to the stream"


def _check_count(attempt):
    V, D, F, L = 500, 48, 96, 3
    blocks = L * (4 * D * D + 2 * D * F)
    diagnose(number(attempt), 2 * V * D + blocks, {
        float(V * D + blocks): "the output matrix is missing: it is not tied to the embedding, so V D counts twice",
        float(2 * V * D + blocks // L): "that is one block: there are three",
        float(blocks): "those are the blocks: embedding and output matrix are missing",
        float(2 * V * D + L * (4 * D * D + D * F)): "an MLP has two matrices, D F each",
        float(2 * V * D + L * (3 * D * D + 2 * D * F)): "attention has four matrices: the output projection W_o is missing",
        float(2 * V * D + L * (8 * 4 * D * D + 2 * D * F)): "the heads share D columns: more heads, no more parameters",
        float(2 * V * D + blocks + L * (4 * D + F + D)): "there are no biases in this model",
        float(2 * V * D + blocks + 4 * D * L + 2 * D): "the norms have no parameters here",
        float(2 * V * D + L * (4 * D * 6 + 2 * D * F)): "the four projections map D to D, all heads together: 4 D²",
        float(2 * V * D + blocks + 2 * D * L): "no token shifts were asked for",
    }, tolerance=0.4)  # fmt: skip
    return "2 V D + L (4 D² + 2 D F)"


def _check_crossing(attempt):
    diagnose(number(attempt), 2 * 64 + 256, {
        64.0 + 128: "with all pairs (i, j) counted, attention costs 4 T² D a layer: two products, 2 T² D each",
        4 * 64.0 + 2 * 256: "one product has 2 T² D, and there are two of them, q kᵀ and A v",
        4 * 64.0 + 256: "an operation counts twice, once to multiply and once to add, on both sides",
        2.0 * 64: "that leaves out the MLP, 4 T D F a layer",
        256.0: "that leaves out the four projections, 8 T D² a layer",
    }, tolerance=0.4)  # fmt: skip
    return "4 T² D = 8 T D² + 4 T D F, so T = 2 D + F"


def _check_loss(attempt):
    wanted = math.log(200) + 0.5
    diagnose(number(attempt), wanted, {
        math.log(200): "that is the loss of equal logits, or of σ = 0",
        math.log(200) + 1: "σ²/2, not σ²",
        math.log(200) - 0.5: "logits that say something wrong cost more, not less",
        math.log2(200) + 0.5: "ln, not log₂: the loss is in nats",
        0.5: "ln V is missing",
        200.0: "V itself is e^loss, the perplexity of equal logits",
    }, tolerance=0.02)  # fmt: skip
    return "ln 200 + 1/2: being sure at random costs half a nat"


def _check_reach(attempt):
    diagnose(number(attempt), 2, {
        1.0: "one block reaches one token back; the second reads what the first has written at the token before",
        3.0: "each block's MLP shifts by one token, and there are two blocks",
        4.0: "W_o is zero, so what the attention's own shift sees is never written: only the MLPs' shifts count",
        7.0: "attention could see them all, but with W_o = 0 it writes nothing",
        0.0: "the MLP reads a token plus a share of the one before",
    }, tolerance=0.4)  # fmt: skip
    return "one token a block: what lies further back can only come by attention"


def _block_in_one_line(x, p, config, rotation=None, mask=0.0):
    stream = x + attention_layer(layer_norm(x), part(p, "attention."), config, rotation, mask)
    update = mlp(layer_norm(stream), part(p, "mlp."), config)
    return np.add(update, stream)


def _a(x, p, config, rotation, mask):
    return attention_layer(x, part(p, "attention."), config, rotation, mask)


def _m(x, p, config):
    return mlp(x, part(p, "mlp."), config)


def _no_residual(x, p, config, rotation=None, mask=0.0):
    x = _a(layer_norm(x), p, config, rotation, mask)
    return x + _m(layer_norm(x), p, config)


def _parallel(x, p, config, rotation=None, mask=0.0):
    return x + _a(layer_norm(x), p, config, rotation, mask) + _m(layer_norm(x), p, config)


def _no_norm(x, p, config, rotation=None, mask=0.0):
    x = x + _a(x, p, config, rotation, mask)
    return x + _m(x, p, config)


def _no_mask(x, p, config, rotation=None, mask=0.0):
    x = x + _a(layer_norm(x), p, config, rotation, 0.0)
    return x + _m(layer_norm(x), p, config)


def _normed_stream(x, p, config, rotation=None, mask=0.0):
    x = layer_norm(x)
    x = x + _a(x, p, config, rotation, mask)
    return x + _m(layer_norm(x), p, config)


def _replace_both(x, p, config, rotation=None, mask=0.0):
    return _m(layer_norm(_a(layer_norm(x), p, config, rotation, mask)), p, config)


def _only_attention(x, p, config, rotation=None, mask=0.0):
    return x + _a(layer_norm(x), p, config, rotation, mask)


EXERCISES = [
    Exercise(
        "03-xor", "two hidden units", 4, 1,
        "Each word has two features, (good, negated): bad (0, 0), good (1, 0), not-bad (0, 1), not-good (1, 1). An MLP has "
        "the two hidden units $h_1 = \\max(0, \\text{good} + \\text{negated})$ and "
        "$h_2 = \\max(0, \\text{good} + \\text{negated} - 1)$. Which weights `[u_1, u_2]` make $u_1 h_1 + u_2 h_2$ "
        "equal 1 for “good” and “not-bad”, and 0 for “bad” and “not-good”?",
        "output_weights = ...  # a list of two numbers", "output_weights",
        ("Write down both units for the four words.",
         "Only “not-good” has h₂ = 1, and h₁ = 2 there: what must be taken away?"),
        check=_check_xor, answer=[1, -2], another=((1.0, -2.0),),
        wrong=(([1, 1], "“not-good” comes out as 3"), ([1, -1], "“not-good” comes out as 1"), ([0, 1], "“good” comes out as 0"),
         ([1, -2, 0], "3 were given"), ("one", "a list of two numbers")),
    ),
    Exercise(
        "03-residual", "when is (4.1) a residual block?", 4, 2,
        "Choose $W_1$ (here 4 × 4), the gate $b_1$ and the activation $f$ so that `formula_4_1(x, w1, b1, w2, 0, f)` is "
        "exactly `x + attention(z, z, z)` with $z = xW_2$, for every x.",
        'residual = ...  # {"w1": a matrix, "b1": a number, "f": a function}', "residual",
        ("Three things stand between x and the output: W₁, f, and what is added.",
         "np.eye(4) is the matrix that changes nothing; lambda x: x the function."),
        check=_check_residual,
        answer={"w1": np.eye(4), "b1": 1.0, "f": lambda x: x},
        another=({"w1": np.diag([1.0] * 4), "b1": np.ones(4), "f": lambda x: x + 0},),
        wrong=(({"w1": np.eye(4), "b1": 0.0, "f": lambda x: x}, "x comes out"),
         ({"w1": np.eye(4), "b1": 1.0, "f": lambda x: np.maximum(x, 0)}, "your f changes numbers"),
         ({"w1": np.zeros((4, 4)), "b1": 1.0, "f": lambda x: x}, "which matrix changes nothing"),
         ({"w1": np.eye(4), "b1": 0.5, "f": lambda x: x}, "now the gate"),
         ({"w1": 1.0, "b1": 1.0, "f": lambda x: x}, "has the shape ()"),
         ({"w1": np.eye(4), "b1": 1.0}, 'with "w1", "b1" and "f"')),
    ),
    Exercise(
        "03-block", "build the block", 8, 2,
        "Put the parts together. Attention reads `layer_norm(x)` and its output is *added* to x; then the MLP reads "
        "`layer_norm` of the new x and is added too.\n\n`x` has the shape (B, T, D); `p` holds all the block's weights, so "
        '`part(p, "attention.")` and `part(p, "mlp.")` are the two parts\'. Call '
        "`attention_layer(…, weights, config, rotation, mask)` and `mlp(…, weights, config)`. Give back (B, T, D).",
        "def block(x, p, config, rotation=None, mask=0.0):\n    return ...", "block",
        ("Two lines of the form x = x + branch(layer_norm(x)).",
         "The second line uses the x that the first one made."),
        check=_check_block, answer=block, another=(_block_in_one_line,),
        wrong=((_no_residual, "the attention's output replaces the stream"), (_parallel, "both branches read the old x"),
         (_no_norm, "nobody normalises"), (_replace_both, "both branches replace"), (_no_mask, "tokens see the future"),
         (_normed_stream, "the stream itself is normalised"), (_only_attention, "the MLP is missing"),
         (lambda x, p, c, r, m: x[0], "the same shape must come out")),
        ours="bigmodel_lib.by_hand.model:block",
    ),
    Exercise(
        "03-reach", "how far back without attention?", 4, 2,
        "A decoder has two blocks with token shift in both branches, but every attention's $W_O$ is zero, so attention writes nothing. "
        "On how many *earlier* tokens can the logits at the 8th token depend?",
        "tokens_back = ...  # a number", "tokens_back",
        ("What does a block's MLP read, besides its own token?",
         "The second block shifts what the first has written, and that holds the token before already."),
        check=_check_reach, answer=2, another=(2.0,),
        wrong=((1, "one block reaches one token back"), (4, "only the MLPs' shifts count"), (7, "with W_o = 0 it writes nothing"),
         (0, "a share of the one before"), (3, "there are two blocks"), ("two", "a number was wanted")),
    ),
    Exercise(
        "03-loss", "the price of random confidence", 3, 1,
        "A model that has learned nothing has random logits with mean 0 and standard deviation 1 over a vocabulary of 200 "
        "words. About how large is its loss, in nats per token? (To 0.02.)",
        "loss_at_random = ...  # a number; `math` is there", "loss_at_random",
        ("Equal logits cost ln V.", "And a spread of σ adds σ²/2."),
        check=_check_loss, answer=math.log(200) + 0.5, another=(5.8,),
        wrong=((math.log(200), "loss of equal logits"), (math.log(200) + 1, "not σ²"), (math.log(200) - 0.5, "cost more, not less"),
         (math.log2(200) + 0.5, "not log₂"), (3.0, "too small")),
    ),
    Exercise(
        "03-count", "count blind", 5, 2,
        "On paper: how many parameters has a decoder with vocabulary 500, d_model 48, d_ff 96, 3 layers of 8 heads, RoPE, no "
        "token shift, and an output matrix of its own?",
        "n_parameters = ...  # a number", "n_parameters",
        ("RoPE and the norms have none. Count one block first.",
         "A block has 4 D² + 2 D F; the two ends V D each."),
        check=_check_count, answer=2 * 500 * 48 + 3 * (4 * 48 * 48 + 2 * 48 * 96), another=(103296.0,),
        wrong=((79296, "V D counts twice"), (66432, "that is one block"), (55296, "those are the blocks"),
         (89472, "two matrices, D F each"), (96384, "W_o is missing"), (104304, "no biases")),
    ),
    Exercise(
        "03-crossing", "where attention gets expensive", 5, 3,
        "In one block, the four projections and the MLP cost $8TD^2 + 4TDF$ operations for T tokens, and attention's two "
        "products, all pairs counted, $4T^2D$. At which T do the two cost the same, for $D = 64$ and $F = 256$?",
        "crossing = ...  # a number", "crossing",
        ("Set the two equal and divide by 4 T D.", "Divided by 4 T D, projections and MLP leave 2 D + F. What does attention leave?"),
        check=_check_crossing, answer=384, another=(384.0,),
        wrong=((192, "two products, 2 T² D each"), (768, "there are two of them"), (128, "leaves out the MLP"),
         (256, "leaves out the four projections"), (1000, "too large")),
    ),
]  # fmt: skip
