"""Loss as compression in notebook 06: the coder gives back what it was given, and probabilities are the formula's."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from notebook_code import defined_in

from bigmodel_lib.errors import CourseError
from bigmodel_lib.model.layers import cross_entropy
from bigmodel_lib.text.sources import python_manual
from bigmodel_lib.text.tokenizers import ByteTokenizer, CharacterTokenizer

CODE = defined_in(
    "06_pretraining", "WHOLE", "HALF", "QUARTER", "integer_frequencies", "Interval", "ArithmeticEncoder",
    "ArithmeticDecoder", "compress", "decompress", "code_length", "model_probabilities", "NGram",
)  # fmt: skip
WHOLE, HALF, QUARTER = CODE.WHOLE, CODE.HALF, CODE.QUARTER
integer_frequencies, Interval = CODE.integer_frequencies, CODE.Interval
ArithmeticEncoder, ArithmeticDecoder = CODE.ArithmeticEncoder, CODE.ArithmeticDecoder
compress, decompress, code_length = CODE.compress, CODE.decompress, CODE.code_length
model_probabilities, NGram = CODE.model_probabilities, CODE.NGram

# Probabilities as whole numbers

KINDS = ("uniform", "smooth", "peaky", "certain")


def distribution(kind, V, rng):
    if kind == "uniform" or V == 1:
        return np.full(V, 1 / V)
    if kind == "certain":
        p = np.full(V, 1e-9 / (V - 1))
        p[rng.integers(V)] = 1 - 1e-9
        return p
    return rng.dirichlet(np.full(V, {"smooth": 1.0, "peaky": 0.05}[kind]))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from([1, 2, 3, 10, 1000]), st.integers(0, 999), st.integers(0, 3000))
def test_frequencies_are_whole_and_stand_close_to_their_probabilities(kind, V, seed, extra):
    p, total = distribution(kind, V, np.random.default_rng(seed)), 2 * V + extra
    f = integer_frequencies(p, total)
    assert f.dtype == np.int64 and f.shape == (V,)
    assert f.sum() == total and f.min() >= 1
    assert (np.abs(f - 1 - p * (total - V)) < 1 + 1e-9).all(), "each is rounded down or up, to a neighbour"
    by_p = np.lexsort((f, p))
    assert (np.diff(f[by_p]) >= 0).all(), "what is likelier has no smaller frequency"
    likely = p > 0
    assert (np.log2(p[likely] * total / f[likely]) <= -math.log2(1 - V / total) + 1e-9).all()
    assert (integer_frequencies(p.tolist(), total) == f).all()


def test_frequencies_worked_out_by_hand():
    """13 places of 16 are free: 6.5, 3.9 and 2.6 of them. The two left over go to the fractions 0.9 and 0.6."""
    assert integer_frequencies([0.5, 0.3, 0.2], 16).tolist() == [7, 5, 4]
    assert integer_frequencies([0.0, 1.0]).tolist() == [1, 65535]
    assert integer_frequencies(np.full(3, 1 / 3), 10).tolist() == [4, 3, 3], "of equals the first"


@pytest.mark.parametrize(
    "p", [[], 0.5, [[0.5, 0.5]], [0.5, 0.4], [1.1, -0.1], [0.5, math.nan], [math.inf, 0.0], [0.0, 0.0]], ids=str
)
def test_what_is_no_distribution_is_refused(p):
    with pytest.raises(CourseError, match=r"\(V,\) shares of sum 1, V ≤ 32768, were wanted"):
        integer_frequencies(p)


def test_too_many_tokens_for_the_total_are_refused():
    assert integer_frequencies(np.full(50, 0.02), 100).tolist() == [2] * 50
    with pytest.raises(CourseError, match=r"V ≤ 49, were wanted, shape \(50,\)"):
        integer_frequencies(np.full(50, 0.02), 99)


# The coder


def bits_of(symbols, frequencies):
    encoder = ArithmeticEncoder()
    for symbol in symbols:
        encoder.encode(symbol, frequencies)
    return "".join(f"{byte:08b}" for byte in encoder.finish())


def padded(bits):
    return bits + "0" * (-len(bits) % 8)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), max_size=30))
def test_a_half_costs_one_bit_and_a_quarter_two(symbols):
    """Where all shares are halves of halves, the code is the prefix code 0, 10, 11, and then 01 for the end."""
    code = "".join(["0", "10", "11"][symbol] for symbol in symbols)
    assert bits_of(symbols, [2, 1, 1]) == padded(code + "01")


@pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
def test_bits_wait_while_the_interval_lies_about_the_middle(n):
    """The middle half, n times, is [1/2 - 2^-n / 2, 1/2 + 2^-n / 2): whether 0111… or 1000… is decided afterwards."""
    middle = [1] * n
    assert bits_of(middle, [1, 2, 1]) == padded("0" + "1" * (n + 1))
    assert bits_of([*middle, 0], [1, 2, 1]) == padded("0" + "1" * n + "0" + "01")
    assert bits_of([*middle, 2], [1, 2, 1]) == padded("1" + "0" * n + "1" + "01")


STEPS = st.lists(  # each step: the frequencies of some symbols, not all 0, and which of those that are not 0 it is
    st.tuples(
        st.lists(st.one_of(st.integers(0, 3), st.integers(0, QUARTER // 8)), min_size=1, max_size=8).filter(any),
        st.integers(0, 7),
    ),
    max_size=40,
)


def symbols_of(steps):
    possible = [(np.flatnonzero(frequencies), choice) for frequencies, choice in steps]
    return [int(symbols[choice % len(symbols)]) for symbols, choice in possible]


@settings(max_examples=150, deadline=None)
@given(STEPS)
@example([([QUARTER // 2 - 1, 1, QUARTER // 2], 1)] * 40)
@example([([1, QUARTER - 1], 0), ([1, QUARTER - 1], 1)] * 20)
def test_the_coder_gives_back_any_symbols_of_any_frequencies(steps):
    symbols = symbols_of(steps)
    encoder = ArithmeticEncoder()
    for symbol, (frequencies, _) in zip(symbols, steps, strict=True):
        encoder.encode(symbol, frequencies)
    decoder = ArithmeticDecoder(encoder.finish())
    assert [decoder.decode(frequencies) for frequencies, _ in steps] == symbols


@settings(deadline=None)
@given(STEPS)
def test_the_interval_stays_wider_than_a_quarter(steps):
    interval = Interval()
    for symbol, (frequencies, _) in zip(symbols_of(steps), steps, strict=True):
        assert set(interval.narrow(symbol, frequencies)) <= {0, HALF, QUARTER}
        assert 0 <= interval.low < interval.high <= WHOLE and interval.high - interval.low > QUARTER


@pytest.mark.parametrize(
    "low, high, doubled",
    [
        (0, HALF, [0]),
        (0, HALF + 1, []),
        (HALF, WHOLE, [HALF]),
        (HALF - 1, WHOLE, []),
        (QUARTER, HALF + QUARTER, [QUARTER]),
        (QUARTER - 1, HALF + QUARTER, []),
        (QUARTER, HALF + QUARTER + 1, []),
    ],
)
def test_a_half_is_doubled_if_the_interval_lies_within_it(low, high, doubled):
    interval = Interval()
    interval.low, interval.high = low, high
    assert list(interval.narrow(0, [1])) == doubled
    assert (interval.low, interval.high) == ((0, WHOLE) if doubled else (low, high))


@pytest.mark.parametrize("frequencies", [[1], [1, 1], [1, 2], [3, 0, 4], [0, 1, QUARTER - 9, 8, 0]], ids=str)
def test_a_share_is_found_from_its_first_number_to_its_last(frequencies):
    """Of all 2^32 numbers symbol s has those from ⌊2^32 F_s / total⌋ on, up to the first of the next symbol."""
    total, firsts = sum(frequencies), [0, *itertools.accumulate(frequencies)]
    for symbol in np.flatnonzero(frequencies):
        first, after = (WHOLE * firsts[i] // total for i in (symbol, symbol + 1))
        for number in (first, after - 1):
            assert ArithmeticDecoder(number.to_bytes(4)).decode(frequencies) == symbol


def test_finishing_changes_nothing():
    encoder = ArithmeticEncoder()
    for _ in range(3):
        encoder.encode(1, [1, 2, 1])
        assert encoder.finish() == encoder.finish()
    assert encoder.finish() == bytes([0b01111000])


@pytest.mark.parametrize(
    "symbol, frequencies", [(2, [1, 1]), (-1, [1, 1]), (0, [0, 1]), (0, [-1, 4]), (0, [1, QUARTER])], ids=str
)
def test_a_symbol_without_a_share_is_refused(symbol, frequencies):
    with pytest.raises(CourseError, match=f"symbol {symbol} was given"):
        ArithmeticEncoder().encode(symbol, frequencies)


# Tokens and back


def teller(kind, V, seed):
    """Probabilities that depend on the number of tokens so far and on the last two of them."""
    return lambda history: distribution(kind, V, np.random.default_rng([seed, len(history), *history[-2:]]))


def drawn(n_tokens, next_probabilities, seed, surprise):
    """Tokens as the probabilities have them; a share of them, `surprise`, as they do not."""
    rng, history = np.random.default_rng(seed), []
    for _ in range(n_tokens):
        p = next_probabilities(history)
        history.append(int(rng.choice(len(p), p=None if rng.random() < surprise else p)))
    return history


def most_bits(tokens, V, next_probabilities):
    """An upper bound on the bits of the code, for a total of 2^16 and an interval of width w > 2^30.

    ideal     -log₂ p
    rounded   f > p (total - V), so log₂(total / f) is less than -log₂ p - log₂(1 - V / total)
    narrowed  the share of w is wider than w f / total - 1, so it costs less than -log₂(1 - total / (w f)) more, f ≥ 1
    finished  two bits name a quarter, and at most seven zeros fill the last byte
    """
    for_each = -math.log2(1 - V / 2**16) - math.log2(1 - 2**16 / 2**30)
    return code_length(tokens, next_probabilities) + len(tokens) * for_each + 9 + 1e-6


CASES = dict(
    kind=st.sampled_from(KINDS),
    V=st.sampled_from([1, 2, 3, 17, 256, 1000]),
    n_tokens=st.integers(0, 60),
    seed=st.integers(0, 9999),
    surprise=st.sampled_from([0.0, 0.1, 1.0]),
)


@settings(max_examples=120, deadline=None)
@given(**CASES)
@example(kind="smooth", V=2, n_tokens=0, seed=0, surprise=0.0)
@example(kind="smooth", V=1000, n_tokens=1, seed=0, surprise=1.0)
@example(kind="certain", V=2, n_tokens=400, seed=0, surprise=0.0)
@example(kind="certain", V=2, n_tokens=400, seed=0, surprise=0.3)
@example(kind="uniform", V=1000, n_tokens=300, seed=0, surprise=0.0)
def test_tokens_come_back_and_cost_what_was_promised(kind, V, n_tokens, seed, surprise):
    next_probabilities = teller(kind, V, seed)
    tokens = drawn(n_tokens, next_probabilities, seed, surprise)
    data = compress(tokens, next_probabilities)
    again = decompress(data, n_tokens, next_probabilities)
    assert again.dtype == np.int64 and again.tolist() == tokens
    assert isinstance(data, bytes) and data == compress(np.array(tokens, dtype=np.int32), next_probabilities)
    assert 8 * len(data) < most_bits(tokens, V, next_probabilities)


@settings(max_examples=60, deadline=None)
@given(**CASES, place=st.integers(0, 10**6))
def test_one_changed_bit_changes_what_is_read(kind, V, n_tokens, seed, surprise, place):
    """Of the code's bits all but the last two, and the zeros after them, keep the number in the tokens' interval."""
    next_probabilities = teller(kind, V, seed)
    tokens = drawn(n_tokens, next_probabilities, seed, surprise)
    data = compress(tokens, next_probabilities)
    if 8 * len(data) > 9:
        place %= 8 * len(data) - 9
        changed = bytearray(data)
        changed[place // 8] ^= 0x80 >> place % 8
        assert decompress(bytes(changed), n_tokens, next_probabilities).tolist() != tokens


def test_both_directions_ask_the_same_questions_in_the_same_order():
    asked = []

    def next_probabilities(history):
        asked.append(list(history))
        return np.full(5, 0.2)

    tokens = [3, 1, 4, 1, 2, 0]
    data = compress(tokens, next_probabilities)
    questions = [tokens[:i] for i in range(6)]
    assert asked == questions
    decompress(data, 6, next_probabilities)
    assert asked == questions * 2


def test_the_ideal_length():
    assert code_length([], teller("smooth", 3, 0)) == 0
    assert code_length([0, 1, 1, 0], lambda history: np.array([0.125, 0.875])) == pytest.approx(
        6 - 2 * math.log2(7 / 8)
    )
    assert code_length([0, 1], lambda history: np.array([1.0, 0.0])) == math.inf
    assert code_length([0, 0], lambda history: [[0.5, 0.5], [0.25, 0.75]][len(history)]) == 3


@pytest.mark.parametrize("token", [-1, 3])
def test_a_token_outside_the_vocabulary_is_refused(token):
    thirds = teller("uniform", 3, 0)
    with pytest.raises(CourseError, match=f"a token from 0 to 2 was wanted, {token} was given"):
        code_length([0, token], thirds)
    with pytest.raises(CourseError, match=f"symbol {token} was given"):
        compress([0, token], thirds)
    with pytest.raises(CourseError, match="choose order 1, 2, … and tokens below V"):
        NGram([0, token], 2, 3)


def test_halves_of_tokens_are_refused():
    for call in (compress, code_length):
        with pytest.raises(TypeError):
            call([0.5], teller("uniform", 3, 0))


# Counts


def slow_ngram(tokens, history, token, n, V):
    """The recursion as it stands in the formula, counted in the text itself each time."""
    if n == 0:
        return Fraction(1, V)
    context = history[len(history) - n + 1 :]
    places = [i for i in range(len(tokens) - n + 1) if tokens[i : i + n - 1] == context]
    followers = [tokens[i + n - 1] for i in places]
    shorter = slow_ngram(tokens, history, token, n - 1, V)
    if not followers:
        return shorter
    distinct = len(set(followers))
    return (followers.count(token) + distinct * shorter) / (len(followers) + distinct)


FEW = st.integers(0, 2)


@settings(max_examples=150, deadline=None)
@given(st.lists(FEW, max_size=20), st.lists(FEW, max_size=6), st.integers(1, 4))
def test_ngrams_are_counted_as_the_formula_says(tokens, history, order):
    p = NGram(np.array(tokens, dtype=np.int32), order, 4).probabilities(history)
    n = min(order, len(history) + 1)
    wanted = [float(slow_ngram(tokens, history, token, n, 4)) for token in range(4)]
    np.testing.assert_allclose(p, wanted, rtol=1e-12)
    assert p.shape == (4,) and p.sum() == pytest.approx(1, abs=1e-12) and p.min() > 0


def test_an_ngram_worked_out_by_hand():
    """0 1 0 1 0: p_1(1) = (2 + 2 · 1/2) / (5 + 2) = 3/7, and p_2(1 | 0) = (2 + 1 · 3/7) / (2 + 1) = 17/21."""
    ngram = NGram([0, 1, 0, 1, 0], 2, 2)
    assert ngram.probabilities([])[1] == pytest.approx(3 / 7)
    assert ngram.probabilities([1, 0])[1] == pytest.approx(17 / 21)


def test_an_order_of_nothing_is_refused():
    with pytest.raises(CourseError, match="order 0 with V = 3 was given: choose order 1, 2, …"):
        NGram([0, 1, 2], 0, 3)


@pytest.fixture(scope="module")
def manual():
    """(train, held out, vocabulary): 60,000 characters of the manual and the 2,000 after them."""
    tokenizer = CharacterTokenizer(python_manual()[:62_000])
    tokens = tokenizer.encode(python_manual()[:62_000])
    return tokens[:60_000], tokens[60_000:], tokenizer.vocab_size


def test_context_saves_bits_on_the_manual(manual):
    train, held_out, V = manual
    lengths = [code_length(held_out, NGram(train, order, V).probabilities) for order in (1, 2, 3)]
    assert all(more < 0.9 * fewer for fewer, more in itertools.pairwise(lengths)), lengths
    assert lengths[0] < 2000 * math.log2(V)


def test_ngrams_compress_the_manual(manual):
    train, held_out, V = manual
    ngram = NGram(train, 5, V)
    data = compress(held_out, ngram.probabilities)
    assert (decompress(data, len(held_out), ngram.probabilities) == held_out).all()
    assert 8 * len(data) < most_bits(held_out, V, ngram.probabilities)
    assert 8 * len(data) < 0.65 * code_length(held_out, NGram(train, 1, V).probabilities)


# The model


def test_a_model_compresses_a_text(random_model):
    model = random_model(vocab_size=256, context_length=48, scale=0.1)
    text = python_manual()[:300]
    tokens = ByteTokenizer().encode(text)[:300]
    next_probabilities = model_probabilities(model)
    data = compress(tokens, next_probabilities)
    assert ByteTokenizer().decode(decompress(data, 300, next_probabilities)) == text
    assert 8 * len(data) < most_bits(tokens, 256, next_probabilities)


def test_the_length_is_the_cross_entropy_of_the_model(random_model, random_tokens):
    """The first token has nothing before it and costs log₂ V; the loss is in nats and a mean."""
    model, tokens = random_model(context_length=300), random_tokens(shape=(1, 300))
    with torch.no_grad():
        nats = 299 * cross_entropy(model(tokens[:, :-1]).double(), tokens[:, 1:]).item()
    wanted = math.log2(11) + nats / math.log(2)
    assert code_length(tokens[0], model_probabilities(model)) == pytest.approx(wanted, rel=1e-6)


def test_the_model_is_given_as_much_as_its_context_holds(random_model, random_tokens):
    model, history = random_model(context_length=12, dtype=torch.float64), random_tokens(shape=(20,))
    next_probabilities = model_probabilities(model)
    for n in range(1, 21):
        with torch.no_grad():
            wanted = model(history[None, max(0, n - 12) : n])[0, -1].softmax(dim=-1)
        p = next_probabilities(history[:n].tolist())
        assert p.dtype == np.float64 and p.shape == (11,)
        np.testing.assert_allclose(p, wanted.numpy(), rtol=1e-9)
    assert next_probabilities([]).tolist() == [1 / 11] * 11


def test_the_softmax_of_a_float32_model_is_taken_in_float64(random_model):
    p = model_probabilities(random_model(scale=1.0))([1, 2, 3])
    assert p.dtype == np.float64 and p.sum() == pytest.approx(1, abs=1e-14)
