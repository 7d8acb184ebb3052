"""The exercises of 03_mlp_attention_numpy, and the small GPT-2 that their answers make up."""

import numpy as np

from bigmodel_lib.by_hand.model import attention, causal_mask, gelu, layer_norm, merge_heads, part, softmax, split_heads
from bigmodel_lib.exercises.engine import Exercise, Wrong, close

# What the notebook has, and what its reader builds


def norm(x, p):
    return layer_norm(x) * p["norm_gain"]


def attention_layer(x, p, n_heads):
    q, k, v = (split_heads(x @ p[name], n_heads) for name in ("w_q", "w_k", "w_v"))
    return merge_heads(attention(q, k, v, causal_mask(len(x)))) @ p["w_o"]


def mlp(x, p):
    return gelu(x @ p["w_up"]) @ p["w_down"]


def turn(pair, place, speed):
    a, b = pair
    angle = place * speed
    return np.array([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)])


def block(x, p, n_heads):
    gather, think = part(p, "attention."), part(p, "mlp.")
    x = x + attention_layer(norm(x, gather), gather, n_heads)
    return x + mlp(norm(x, think), think)


def gpt2(tokens, parameters, n_layers, n_heads):
    table = parameters["token_embedding"]
    x = table[tokens] + parameters["position_embedding"][: len(tokens)]
    for layer in range(n_layers):
        x = block(x, part(parameters, f"blocks.{layer}."), n_heads)
    return norm(x, parameters) @ table.T


def greedy(model, tokens, n_new, end):
    tokens = list(tokens)
    for _ in range(n_new):
        logits = model(np.array(tokens))
        tokens.append(int(logits[-1].argmax()))
        if tokens[-1] == end:
            break
    return tokens


# Other right answers


def _turn_by_matrix(pair, place, speed):
    c, s = np.cos(speed * place), np.sin(speed * place)
    return np.array([[c, -s], [s, c]]) @ np.asarray(pair)


def _turn_by_complex(pair, place, speed):
    z = complex(*pair) * np.exp(1j * place * speed)
    return np.array([z.real, z.imag])


def _block_with_names(x, p, n_heads):
    gathered = attention_layer(norm(x, part(p, "attention.")), part(p, "attention."), n_heads)
    middle = np.add(x, gathered)
    return middle + mlp(norm(middle, part(p, "mlp.")), part(p, "mlp."))


def _block_unrolled(x, p, n_heads):
    normed = layer_norm(x) * p["attention.norm_gain"]
    x = x + attention_layer(normed, part(p, "attention."), n_heads)
    normed = layer_norm(x) * p["mlp.norm_gain"]
    return gelu(normed @ p["mlp.w_up"]) @ p["mlp.w_down"] + x


def _model_by_lists(tokens, parameters, n_layers, n_heads):
    rows = [parameters["token_embedding"][t] + parameters["position_embedding"][i] for i, t in enumerate(tokens)]
    x = np.array(rows)
    for layer in range(n_layers):
        x = block(x, part(parameters, f"blocks.{layer}."), n_heads)
    return np.einsum("td,vd->tv", norm(x, parameters), parameters["token_embedding"])


def _model_by_places(tokens, parameters, n_layers, n_heads):
    x = np.take(parameters["token_embedding"], tokens, axis=0)
    x += parameters["position_embedding"][np.arange(len(tokens))]
    layer = 0
    while layer < n_layers:
        x = block(x, part(parameters, "blocks." + str(layer) + "."), n_heads)
        layer += 1
    return norm(x, parameters).dot(parameters["token_embedding"].T)


def _greedy_by_concatenation(model, tokens, n_new, end):
    written = np.array(tokens)
    while len(written) < len(tokens) + n_new and (len(written) == len(tokens) or written[-1] != end):
        written = np.append(written, np.argmax(model(written)[-1]))
    return [int(token) for token in written]


def _greedy_by_recursion(model, tokens, n_new, end):
    if n_new == 0:
        return list(tokens)
    best = int(np.argmax(model(np.array(tokens)), axis=-1)[-1])
    longer = [*tokens, best]
    return longer if best == end else _greedy_by_recursion(model, longer, n_new - 1, end)


# Inputs, and typical mistakes


def _pair(rng):
    return rng.normal(size=2), int(rng.integers(1, 9)), float(rng.uniform(0.1, 1.5))


def _block_weights(rng, D=4, F=6):
    shapes = {f"attention.w_{letter}": (D, D) for letter in "qkvo"} | {"mlp.w_up": (D, F), "mlp.w_down": (F, D)}
    p = {name: rng.normal(size=shape) / 2 for name, shape in shapes.items()}
    return p | {f"{kind}.norm_gain": rng.uniform(0.5, 2.0, D) for kind in ("attention", "mlp")}


def _block_inputs(rng):
    return rng.normal(size=(int(rng.integers(2, 6)), 4)) * 2 + 0.5, _block_weights(rng), 2


def _model_inputs(rng):
    tables = {"token_embedding": rng.normal(size=(7, 4)), "position_embedding": rng.normal(size=(6, 4))}
    blocks = {f"blocks.{i}.{name}": w for i in range(3) for name, w in _block_weights(rng).items()}
    tokens = rng.integers(0, 7, size=int(rng.integers(2, 6)))
    return tokens, tables | {"norm_gain": rng.uniform(0.5, 2.0, 4)} | blocks, 3, 2


def _greedy_inputs(rng):
    """Half of the models hear only the last token, half everything before it."""
    table = rng.normal(size=(6, 6))
    models = (lambda tokens: table[np.asarray(tokens)], lambda tokens: np.cumsum(table[np.asarray(tokens)], axis=0))
    return (
        models[rng.integers(2)],
        rng.integers(0, 6, size=int(rng.integers(2, 5))).tolist(),
        int(rng.integers(3, 9)),
        int(rng.integers(6)),
    )


def _ends_at_once(tokens):
    return np.eye(6)[np.full(len(tokens), 5)]


def _counts_up(tokens):
    return np.eye(6)[(np.asarray(tokens) + 1) % 6]


def _wrong_block(norms=(True, True), keep=(True, True), from_old=False, swapped=False, missing=False, gains=True):
    """A block with one thing wrong: whether each worker reads a norm, whether each keeps the stream, and so on."""

    def wrong(x, p, n_heads):
        gather, think = part(p, "attention."), part(p, "mlp.")

        def hear(stream, weights, on):
            heard = norm(stream, weights) if gains else layer_norm(stream)
            return heard if on else stream

        def first(stream):
            return attention_layer(hear(stream, gather, norms[0]), gather, n_heads)

        def second(stream):
            return mlp(hear(stream, think, norms[1]), think)

        one, two = (second, first) if swapped else (first, second)
        after = keep[0] * x + one(x)
        if missing:
            return after
        return keep[1] * after + two(x if from_old else after)

    return wrong


def _normed_stream(x, p, n_heads):
    gather, think = part(p, "attention."), part(p, "mlp.")
    x = norm(x, gather)
    x = x + attention_layer(x, gather, n_heads)
    x = norm(x, think)
    return x + mlp(x, think)


def _norm_after(x, p, n_heads):
    gather, think = part(p, "attention."), part(p, "mlp.")
    x = norm(x + attention_layer(x, gather, n_heads), gather)
    return norm(x + mlp(x, think), think)


def _wrong_model(places="right", last_norm=True, blocks="all", end="logits"):
    """GPT-2 with one thing wrong."""

    def wrong(tokens, parameters, n_layers, n_heads):
        table, positions = parameters["token_embedding"], parameters["position_embedding"]
        x = table[tokens]
        if places == "right":
            x = x + positions[: len(tokens)]
        if places == "by token":
            x = x + positions[np.minimum(tokens, len(positions) - 1)]
        if places == "from 1":
            x = x + positions[np.minimum(np.arange(1, len(tokens) + 1), len(positions) - 1)]
        for layer in range(n_layers if blocks != "none" else 0):
            number = 0 if blocks == "first" else layer
            x = block(x, part(parameters, f"blocks.{number}."), n_heads)
        x = norm(x, parameters) if last_norm else x
        logits = x @ table.T
        return {"logits": logits, "softmax": softmax(logits), "last": logits[-1], "stream": x}[end]

    return wrong


def _mirrored(pair, place, speed):
    a, b = turn((pair[0], -pair[1]), place, speed)
    return np.array([a, b])


def _turn_with(first, second):
    """The formula with signs of its own."""

    def wrong(pair, place, speed):
        (a, b), c, s = pair, np.cos(place * speed), np.sin(place * speed)
        return np.array([a * c + first * b * s, a * s + second * b * c])

    return wrong


def _sines_for_cosines(pair, place, speed):
    (a, b), c, s = pair, np.cos(place * speed), np.sin(place * speed)
    return np.array([a * s - b * c, a * c + b * s])


def _of_workers(steps):
    """A block from steps(x, attention's weights, the MLP's weights, attention, the MLP)."""

    def wrong(x, p, n_heads):
        gather, think = part(p, "attention."), part(p, "mlp.")
        return steps(x, gather, think, lambda x: attention_layer(x, gather, n_heads), lambda x: mlp(x, think))

    return wrong


@_of_workers
def _copy_used_twice(x, gather, think, attend, reflect):
    normed = norm(x, gather)
    x = x + attend(normed)
    return x + reflect(normed)


@_of_workers
def _norm_on_what_is_said(x, gather, think, attend, reflect):
    x = x + norm(attend(x), gather)
    return x + norm(reflect(x), think)


@_of_workers
def _gains_crossed(x, gather, think, attend, reflect):
    x = x + attend(norm(x, think))
    return x + reflect(norm(x, gather))


@_of_workers
def _normed_twice(x, gather, think, attend, reflect):
    x = x + attend(norm(norm(x, gather), gather))
    return x + reflect(norm(norm(x, think), think))


@_of_workers
def _normed_at_the_end(x, gather, think, attend, reflect):
    x = x + attend(norm(x, gather))
    return norm(x + reflect(norm(x, think)), think)


@_of_workers
def _first_result_dropped(x, gather, think, attend, reflect):
    return x + reflect(norm(x, think))


def _whole_p(x, p, n_heads):
    x = x + attention_layer(norm(x, p), p, n_heads)
    return x + mlp(norm(x, p), p)


def _whole_p_for_workers(x, p, n_heads):
    gather, think = part(p, "attention."), part(p, "mlp.")
    x = x + attention_layer(norm(x, gather), p, n_heads)
    return x + mlp(norm(x, think), p)


def _old_stream(x, p, n_heads, kept="x"):
    """The second sum adds to the old x; attention's result reaches the MLP with or without x."""
    gather, think = part(p, "attention."), part(p, "mlp.")
    gathered = attention_layer(norm(x, gather), gather, n_heads)
    return x + mlp(norm(gathered + x if kept == "x" else gathered, think), think)


def _one_gain(x, p, n_heads):
    gather, think = part(p, "attention."), part(p, "mlp.")
    x = x + attention_layer(norm(x, gather), gather, n_heads)
    return x + mlp(norm(x, gather), think)


def _model_looping(step, gain=True, first=0):
    """GPT-2 in which the loop or the last norm is wrong: step(x, layer's weights, all parameters, n_heads) -> x."""

    def wrong(tokens, parameters, n_layers, n_heads):
        table = parameters["token_embedding"]
        x = table[tokens] + parameters["position_embedding"][: len(tokens)]
        for layer in range(first, n_layers):
            x = step(x, part(parameters, f"blocks.{layer}."), parameters, n_heads)
        return (norm(x, parameters) if gain else layer_norm(x)) @ table.T

    return wrong


def _only_last_block(tokens, parameters, n_layers, n_heads):
    table = parameters["token_embedding"]
    x = table[tokens] + parameters["position_embedding"][: len(tokens)]
    return norm(block(x, part(parameters, f"blocks.{n_layers - 1}."), n_heads), parameters) @ table.T


def _wrong_rows(change, reverse=False, early=False, normed=False):
    """GPT-2 in which the rows that enter the first block are wrong, or the blocks are run in another way."""

    def wrong(tokens, parameters, n_layers, n_heads):
        table, places = parameters["token_embedding"], parameters["position_embedding"][: len(tokens)]
        x = change(table[tokens], places)
        x = norm(x, parameters) if normed else x
        for layer in list(range(n_layers))[:: -1 if reverse else 1]:
            x = block(x, part(parameters, f"blocks.{layer}."), n_heads)
            if early:
                break
        return norm(x, parameters) @ table.T

    return wrong


def _places_in_every_block(tokens, parameters, n_layers, n_heads):
    table, places = parameters["token_embedding"], parameters["position_embedding"][: len(tokens)]
    x = table[tokens]
    for layer in range(n_layers):
        x = block(x + places, part(parameters, f"blocks.{layer}."), n_heads)
    return norm(x, parameters) @ table.T


def _normed_each_time(tokens, parameters, n_layers, n_heads):
    table = parameters["token_embedding"]
    x = table[tokens] + parameters["position_embedding"][: len(tokens)]
    for layer in range(n_layers):
        x = norm(block(x, part(parameters, f"blocks.{layer}."), n_heads), parameters)
    return x @ table.T


def _greedy_down_the_columns(model, tokens, n_new, end):
    return _greedy_with(lambda logits: int(logits.argmax(axis=0)[-1]), model, tokens, n_new, end)


def _greedy_from_first(model, tokens, n_new, end):
    return _greedy_with(lambda logits: int(logits[0].argmax()), model, tokens, n_new, end)


def _greedy_over_all(model, tokens, n_new, end):
    return _greedy_with(lambda logits: int(logits.argmax()), model, tokens, n_new, end)


def _greedy_least(model, tokens, n_new, end):
    return _greedy_with(lambda logits: int(logits[-1].argmin()), model, tokens, n_new, end)


def _model_slip(prefix="blocks.{}.", places=None, turned=True):
    """GPT-2 with one slip that stops it, or that gives other numbers."""

    def wrong(tokens, parameters, n_layers, n_heads):
        table, P = parameters["token_embedding"], parameters["position_embedding"]
        x = table[tokens] + (P[: len(tokens)] if places is None else places(P, tokens))
        for layer in range(n_layers):
            x = block(x, part(parameters, prefix.format(layer)), n_heads)
        return norm(x, parameters) @ (table.T if turned else table)

    return wrong


def _greedy_with(choose, model, tokens, n_new, end):
    tokens = list(tokens)
    for _ in range(n_new):
        tokens.append(choose(model(np.array(tokens))))
        if tokens[-1] == end:
            break
    return tokens


def _greedy_endless(model, tokens, n_new, end):
    return _greedy_with(lambda logits: int(logits[-1].argmax()), model, tokens, n_new, None)


def _greedy_without_end(model, tokens, n_new, end):
    written = greedy(model, tokens, n_new, end)
    return written[:-1] if len(written) > len(tokens) and written[-1] == end else written


def _greedy_by_the_last_token(model, tokens, n_new, end):
    return _greedy_with(lambda logits: int(logits[-1].argmax()), lambda tokens: model(tokens[-1:]), tokens, n_new, end)


def _greedy_up_to_n_new(model, tokens, n_new, end):
    return greedy(model, tokens, max(0, n_new - len(tokens)), end)


def _greedy_only_one(model, tokens, n_new, end):
    return greedy(model, tokens, min(n_new, 1), end)


def _greedy_append_gives_none(model, tokens, n_new, end):
    tokens = list(tokens)
    for _ in range(n_new):
        tokens = tokens.append(int(model(np.array(tokens))[-1].argmax()))
        if tokens[-1] == end:
            break
    return tokens


def _greedy_append_gives_none_later(model, tokens, n_new, end):
    tokens = list(tokens)
    for _ in range(n_new):
        best = int(model(np.array(tokens))[-1].argmax())
        tokens = tokens.append(best)
        if best == end:
            break
    return tokens


def _greedy_new_only(model, tokens, n_new, end):
    return greedy(model, tokens, n_new, end)[len(tokens) :]


def _greedy_one_more(model, tokens, n_new, end):
    return greedy(model, tokens, n_new + 1, end)


def _greedy_forgets(model, tokens, n_new, end):
    new, given = [], list(tokens)
    for _ in range(n_new):
        new.append(int(model(np.array(given))[-1].argmax()))
        if new[-1] == end:
            break
    return given + new


# Checks of what is no function


def _check_smile(attempt):
    from bigmodel_lib.viz.every_number import WORDS, trace

    words = attempt.lower().strip(" .").split() if isinstance(attempt, str) else []
    if len(words) != 3 or words[2] != "bad":
        raise Wrong(f'three words were wanted, the last one bad, in quotes: "… … bad"; {attempt!r} was given')
    strange = [word for word in words if word not in WORDS[:4]]
    if strange:
        raise Wrong(f"the toy doesn't know “{strange[0]}”: its words are {', '.join(WORDS[:4])}")
    smiles, sighs = trace(" ".join(words))["p"][-1, -2:]
    if smiles < sighs:
        raise Wrong(f"it sighs, with {sighs:.2f}: what would make *bad* something nice?")
    return f"it smiles, with {smiles:.2f}"


def _check_xor(attempt):
    try:
        given = np.asarray(attempt, dtype=float).ravel()
    except (TypeError, ValueError):
        raise Wrong(f"a list of two numbers was wanted, {attempt!r} was given") from None
    if given.shape != (2,):
        raise Wrong(f"two numbers were wanted, one for good and one for negated; {given.size} were given")
    if not np.isfinite(given).all():
        raise Wrong(f"two ordinary numbers were wanted, {attempt!r} was given")
    unit = np.maximum(0, [0, given[0], given[1], given.sum()])
    if close(unit, [0, 0, 1, 0]):
        return "one unit for each nice word, and W_down adds them up: 1, 1"
    off = next(i for i in range(4) if abs(unit[i] - (i == 2)) > 1e-6)
    word = ("bad", "good", "not-bad", "not-good")[off]
    raise Wrong(f"for “{word}” your unit says {unit[off]:g}, wanted {int(off == 2)}")


EXERCISES = [
    Exercise(
        "03-smile", "make it smile", 2, 1,
        "Which two words in front of *bad* make the toy smile? Choose among *not*, *very*, *good* and *bad*. There's more than one way.",
        'smiling = ...  # "… … bad"', "smiling",
        ("What do people do when something turns out not to be bad?",
         "One word turns the mood round. Where it is among the first two makes little difference: attention finds it.",
         "Put *not* in one of the two places, and *very* in the other."),
        answer="not very bad", another=("very not bad", "not not bad"), check=_check_smile,
        wrong=(("very very bad", "it sighs"), ("not very good", "the last one bad"), ("never very bad", "doesn't know “never”"),
               ("not bad", "three words"), (["not", "very", "bad"], "in quotes")),
    ),
    Exercise(
        "03-xor", "the second unit", 4, 1,
        "The first hidden unit is max(0, 1 · good − 1 · negated), and it fires for *good* alone. Now the second, "
        "max(0, a · good + b · negated): it should be 1 for *not-bad* (0, 1), and 0 for *bad* (0, 0), *good* (1, 0) and "
        "*not-good* (1, 1). The mood is then the sum of both. Which weights `[a, b]`?",
        "second_unit = ...  # a list of two numbers", "second_unit",
        ("Write down what the unit says for each of the four words, before the bend.",
         "Not-bad fixes one of the two weights on its own. For not-good the sum must not come out above zero.",
         "For not-bad the sum is b, and it should be 1. For not-good it's a + b, and the bend turns everything up to 0 into 0."),
        answer=[-1, 1], another=((-1.0, 1.0), np.array([-2, 1])), check=_check_xor,
        wrong=(([1, -1], "for “good” your unit says 1"), ([0, 1], "for “not-good” your unit says 1"),
               ([-1, 2], "for “not-bad” your unit says 2"), ([-0.5, 1], "for “not-good” your unit says 0.5"),
               ([-1, 1, 0], "3 were given"), ("one", "a list of two numbers"), ([float("nan"), 1], "ordinary numbers")),
    ),
    Exercise(
        "03-turn", "turn the arrow", 6, 1,
        "Write `turn(pair, place, speed)`: the pair (a, b) turned by `place * speed`, in radians. Give back an array of two "
        "numbers. Place 0 changes nothing.",
        "def turn(pair, place, speed):\n    a, b = pair\n    return ...  # np.array([…, …])", "turn",
        ("How far does a token at this place turn? Then it's the formula above, twice.",
         "First the angle, then two numbers that each mix a and b. Only one of the four products has a minus.",
         "The first number is a * np.cos(angle) - b * np.sin(angle); the second has sin and cos the other way round, and a plus."),
        answer=turn, another=(_turn_by_matrix, _turn_by_complex), inputs=_pair,
        special=(("place 0", np.array([1.0, 2.0]), 0, 0.5), ("a quarter turn", np.array([1.0, 0.0]), 1, np.pi / 2)),
        wrong=((lambda pair, place, speed: turn(pair, -place, speed), "yours turns the other way: check the signs of the two sines"),
               (lambda pair, place, speed: turn(pair, 1, speed), "every place turns by the same angle: multiply speed by place"),
               (lambda pair, place, speed: turn(pair, place, speed * np.pi / 180), "the angle is in radians already: no conversion from degrees"),
               (lambda pair, place, speed: turn(pair, place, np.degrees(speed)), "np.cos and np.sin take radians: don't convert to degrees"),
               (lambda pair, place, speed: turn(pair, place, 1.0), "the speed is missing: the angle is place times speed"),
               (lambda pair, place, speed: np.array([pair[0] * np.cos(place * speed), pair[1] * np.sin(place * speed)]),
                "that scales each number alone; a turn mixes them: each new number takes from a and from b"),
               (lambda pair, place, speed: np.array([turn(pair, place, speed)[0], turn((turn(pair, place, speed)[0], pair[1]), place, speed)[1]]),
                "the second number uses the a that the first line has changed already: it needs the old one"),
               (lambda pair, place, speed: turn(pair, 1, place + speed), "the angle is place times speed, not place plus speed"),
               (lambda pair, place, speed: turn(pair, place, 1 / speed), "the angle is place times speed, not place over speed"),
               (lambda pair, place, speed: turn(pair, place + 1, speed), "places count from 0: the angle is place * speed, with nothing added"),
               (_turn_with(+1, +1), "you have two pluses: the first number has a minus, before b * sin"),
               (_turn_with(-1, -1), "you have two minuses: the second number has a plus"),
               (_sines_for_cosines, "sine and cosine are swapped: at place 0, where the sine is 0, nothing should change"),
               (_mirrored, "the minus is at the wrong product: it belongs to b * sin in the first number"),
               (lambda pair, place, speed: turn(pair, place, speed)[::-1], "the two numbers are right, but in the wrong order")),
        right="An arrow at place 0 stays; after that it turns by `speed` a place.",
        ours="bigmodel_lib.exercises.nb03:turn",
    ),
    Exercise(
        "03-block", "build the block", 8, 2,
        "Put the block together. `x` has shape (T, D); `p` holds the block's weights, and the stub shows how to pick those of the two "
        "workers. Attention reads `norm(x, gather)` and what it finds is *added* to x. Then the MLP reads the norm of the *new* x, and "
        "is added too. (Write `x = x + …`, since `x += …` would change the caller's array.)\n\nYou have `norm(x, weights)`, `attention_layer(x, weights, n_heads)` and `mlp(x, weights)`.",
        'def block(x, p, n_heads):\n    # gather, think = part(p, "attention."), part(p, "mlp.")\n    return ...', "block",
        ("Say it in words first: read a normalised copy, compute, add. Twice.",
         "Look at the map: where does each arrow leave the stream, and where does it come back? The second one leaves after the first plus.",
         "x = x + attention_layer(norm(x, gather), gather, n_heads) is the first line. The second is its twin, with mlp and think."),
        answer=block, another=(_block_with_names, _block_unrolled), inputs=_block_inputs,
        wrong=((_wrong_block(keep=(False, False)), "both workers replace the stream: what they find is added to x"),
               (_wrong_block(keep=(False, True)), "attention's result replaces the stream: it is added to x"),
               (_wrong_block(keep=(True, False)), "the MLP's result replaces the stream: it is added to x"),
               (_wrong_block(from_old=True), "both workers read the old x: the MLP reads what attention has left behind"),
               (_wrong_block(norms=(False, False)), "nobody reads through a norm: each worker gets norm(x, its weights)"),
               (_wrong_block(norms=(True, False)), "the MLP reads the stream as it is: it gets norm(x, think)"),
               (_wrong_block(norms=(False, True)), "attention reads the stream as it is: it gets norm(x, gather)"),
               (_wrong_block(gains=False), "the norms' gains are missing: use norm(x, weights), not layer_norm(x)"),
               (_wrong_block(missing=True), "the MLP is missing"),
               (_wrong_block(swapped=True), "the order is turned round: attention first, then the MLP"),
               (_old_stream, "the second sum adds to the old x, so what attention wrote is lost: add to the new one"),
               (lambda x, p, n_heads: _old_stream(x, p, n_heads, kept=""), "attention's result is never added to x: the MLP reads it alone, and then it's gone"),
               (_one_gain, "the MLP's norm takes attention's gain: norm(x, think)"),
               (lambda x, p, n_heads: x + block(x, p, n_heads), "x is added once too often: the first sum has brought it along already"),
               (_copy_used_twice, "the MLP reads attention's normalised copy again: it needs a new one, of the new x, with its own gain"),
               (_norm_on_what_is_said, "the norm is on what the workers say: it belongs on what they read"),
               (_gains_crossed, "the gains are crossed: attention reads norm(x, gather), the MLP norm(x, think)"),
               (_normed_twice, "each worker reads a copy that went through the norm twice: once is enough"),
               (_normed_at_the_end, "there's one norm too many, at the end: the stream goes on as it is"),
               (_first_result_dropped, "what attention found gets lost: is there an `x =` in front of the first line?"),
               (_whole_p, "each worker gets its own weights, not the whole p: part(p, \"attention.\") and part(p, \"mlp.\")"),
               (_whole_p_for_workers, "the norms are right; the workers get their own weights, too, not the whole p"),
               (_normed_stream, "the stream itself is normalised: only what a worker reads is, x goes on as it was"),
               (_norm_after, "that's the norm after each sum, as in 2017; here it comes before each worker"),
               (lambda x, p, n_heads: block(x, p, 1), "n_heads isn't handed on to attention_layer")),
        right="Each worker reads a normalised copy and adds to the stream.",
        ours="bigmodel_lib.exercises.nb03:block",
    ),
    Exercise(
        "03-model", "build the model", 8, 2,
        "Write `gpt2(tokens, parameters, n_layers, n_heads)`: from T token ids (an array) to logits of shape (T, V). The weights are "
        'called `"token_embedding"` (V, D), `"position_embedding"` (one row a place, more than you need) and '
        '`"blocks.0.…"`, `"blocks.1.…"`, …; `part(parameters, "blocks.0.")` picks a block\'s. The last norm\'s gain is in '
        "`parameters` itself, so `norm(x, parameters)` finds it.",
        "def gpt2(tokens, parameters, n_layers, n_heads):\n    # 1. x = a row for each token + a row for each place\n"
        "    # 2. for each layer, x = block(x, …)\n    # 3. norm and compare\n    return ...", "gpt2",
        ("Three lines, one for each line of the plan: rows, blocks, logits.",
         "table[tokens] picks one row for each token, (T, D). The places are 0, 1, …, T − 1. At the end (T, D) meets (V, D) and gives (T, V).",
         'The rows: table[tokens] + parameters["position_embedding"][:len(tokens)]. In the loop, f"blocks.{layer}." names a block. '
         "The last line: norm(…) @ table.T"),
        answer=gpt2, another=(_model_by_lists, _model_by_places), inputs=_model_inputs,
        wrong=((_wrong_model(places="none"), "the positions are missing: add a row for each place to the tokens' rows"),
               (_wrong_model(places="by token"), "the rows of position_embedding are picked by token: they go by place, 0, 1, 2, …"),
               (_wrong_model(places="from 1"), "the places start at 0, yours start at 1"),
               (_wrong_model(last_norm=False), "the last norm is missing: norm(x, parameters) before the logits"),
               (_wrong_model(blocks="first"), "every round uses block 0: put the layer's number into the name"),
               (_only_last_block, "only the last block counts: each one has to read what the one before it gave, so x = block(x, …)"),
               (_normed_each_time, "the last norm runs after every block: it comes once, after the loop"),
               (_model_looping(lambda x, p, _, n_heads: x + block(x, p, n_heads)), "x is added once too often: the block adds to the stream itself, so x = block(x, …)"),
               (_model_looping(lambda x, p, _, n_heads: block(x, p, n_heads), first=1), "block 0 is left out: layers count from 0"),
               (_model_looping(lambda x, p, _, n_heads: block(x, p, n_heads), gain=False), "the last norm has a gain, too: norm(x, parameters), not layer_norm(x)"),
               (_wrong_rows(np.add, early=True), "only the first block runs: is the `return` inside the loop?"),
               (_wrong_rows(np.add, reverse=True), "the blocks run backwards: block 0 comes first"),
               (_wrong_rows(np.add, normed=True), "there's a norm before the blocks: the only norm outside them comes after the loop"),
               (_wrong_rows(lambda x, places: x + places[len(places) - 1]), "every token gets the row of the last place: one row each, position_embedding[:len(tokens)]"),
               (_wrong_rows(lambda x, places: x + places[0]), "every token gets the row of place 0: one row each, position_embedding[:len(tokens)]"),
               (_places_in_every_block, "the positions are added in every block: once, before the first, is enough"),
               (_model_slip(prefix="blocks.{}"), "no weights are found by these names: a block's begin with `blocks.0.`, with a dot at the end"),
               (_model_slip(places=lambda P, tokens: P[tokens]), "places are looked up by position, 0, 1, 2 …, not by token id"),
               (_model_slip(places=lambda P, tokens: P), "the table of places has more rows than there are tokens: take the first len(tokens)"),
               (_model_slip(turned=False), "at the end, turn the table on its side: (T, D) @ (D, V)"),
               (_wrong_model(blocks="none"), "no block has run: does the loop change x?"),
               (_wrong_model(end="softmax"), "those are probabilities: the model gives logits, before softmax"),
               (_wrong_model(end="last"), "those are the last token's logits alone: give a row for each token, (T, V)"),
               (_wrong_model(end="stream"), "that's the stream, (T, D): compare it with every word's row, @ table.T")),
        right="That's the whole model, in one screen.",
        ours="bigmodel_lib.exercises.nb03:gpt2",
    ),
    Exercise(
        "03-write", "let it write", 6, 2,
        "Write `greedy(model, tokens, n_new, end)`. `model(tokens)` takes an array of T ids and gives logits (T, V). Append the likeliest "
        "next token, up to `n_new` times; if it is `end`, append it and stop. Give back a list of all tokens, old and new. Leave "
        "the list that came in as it was.",
        "def greedy(model, tokens, n_new, end):\n    tokens = list(tokens)  # a copy\n    return ...", "greedy",
        ("The model gives a row of logits for each token. Which row predicts the token that comes next?",
         "Four steps in the loop: logits, the place of the largest in the last row, append, look whether it was the end.",
         "model(np.array(tokens))[-1].argmax() is the next token, as a NumPy number: int(…) makes it a plain one. `break` leaves the loop."),
        answer=greedy, another=(_greedy_by_concatenation, _greedy_by_recursion), inputs=_greedy_inputs,
        special=(("a model that ends at once", _ends_at_once, [1, 2], 5, 5), ("a model that counts up", _counts_up, [0, 1], 9, 5),
                 ("nothing to write", _counts_up, [3], 0, 5)),
        wrong=((lambda model, tokens, n_new, end: list(tokens), "nothing was appended: yours gives back what came in"),
               (_greedy_from_first, "you take the first row of the logits: the last row speaks of the next token"),
               (_greedy_over_all, "argmax runs over all rows together: take the last row first"),
               (_greedy_down_the_columns, "argmax runs down the columns: take the last row first, then its largest"),
               (_greedy_least, "you append the unlikeliest token: argmax, not argmin"),
               (_greedy_by_the_last_token, "the model sees only the last token: give it all of them, old and new"),
               (_greedy_up_to_n_new, "you stop at n_new tokens in all: n_new counts the new ones alone"),
               (_greedy_only_one, "it stops after one new token: is the `return` inside the loop?"),
               (_greedy_append_gives_none, "append changes the list and gives back None: no `tokens =` in front of it"),
               (_greedy_append_gives_none_later, "after tokens = tokens.append(…) there is no list any more, but None: leave out `tokens =`"),
               (_greedy_endless, "it goes on after `end`: stop there"),
               (_greedy_without_end, "`end` itself is missing: append it, then stop"),
               (_greedy_new_only, "those are the new tokens alone: old and new were wanted"),
               (_greedy_one_more, "one token too many: n_new is how many you may append"),
               (_greedy_forgets, "the model always reads the same tokens: append each new one to what it reads")),
        right="Ask, append, ask again.",
        ours="bigmodel_lib.exercises.nb03:greedy",
    ),
    Exercise(
        "03-count", "count GPT-2", 6, 2,
        "On paper (or with Python as a calculator): how many million parameters has the smallest GPT-2? Vocabulary "
        "50,257, context 1,024, D = 768, F = 3,072, 12 blocks of 12 heads. One table serves both ends; leave out biases and gains. (To half a million.)",
        "millions = ...  # a number", "millions",
        ("Two tables, and twelve blocks that are all alike. How many matrices has a block, and of what shapes?",
         "Attention has four matrices D × D, however many heads share them. The MLP has two.",
         "A block has 4 D² + 2 D F parameters. Twelve of those, then one row of D numbers for each word and for each place."),
        answer=124.3, another=(124, 124.318464), tolerance=0.5,
        wrong=((162.9, "the output has no table of its own: it uses the embedding's"),
               (46.5, "that's one block: there are twelve"), (84.9, "those are the blocks: the tables are missing"),
               (117.2, "attention has four matrices: W_O is missing"), (96.0, "28.3 million are missing: attention has four matrices D × D, and the MLP has two of D × F"),
               (123.5, "the table of places is missing"),
               *((n, f"in millions, please: {n / 1e6:.6g} would do for {n:,.0f}") for n in (124318464, 124e6, 124.3e6)),
               (38.6, "that's the table of words alone"), (39.4, "those are the two tables: the blocks are missing"),
               (435.8, "the heads share D columns: more heads, no more parameters")),
        right="124 million. OpenAI's own count, biases and gains included, is 124.4.",
    ),
]  # fmt: skip
