"""Worlds, models and scores of notebooks 12 and 12b, each against an oracle that goes another way."""

import itertools
import runpy

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from sklearn.metrics import mean_pinball_loss

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.exercises.nb12b import christoffersen_ratio, kupiec_ratio
from bigmodel_lib.measuring.intervals import interval_of_splits
from bigmodel_lib.model.transformer import initialise
from bigmodel_lib.risk import market, patients, scores
from bigmodel_lib.risk.models import (
    CONTEXT,
    WARM_UP,
    EventModel,
    ReturnModel,
    TableModel,
    feature_tokens,
    read_days,
    risk_loss,
    student_loss,
)
from bigmodel_lib.text.sources import data_path

SMALL = dict(vocab_size=18, context_length=40, d_model=8, n_heads=2, n_layers=2, d_ff=16, token_shift=False)


def stirred(model):
    """The model with every parameter drawn, none at zero."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


# Patients


def signs_by_hand(row):
    """How long ago the right drug was started, symptom by symptom, read from names."""
    names, found = [patients.EVENTS[e] for e in row], []
    for t, name in enumerate(names):
        drug = patients.DRUGS[patients.SYMPTOMS.index(name)] if name in patients.SYMPTOMS else None
        found.append(next((back for back in range(1, 11) if back <= t and names[t - back] == drug), 0))
    return found


def test_signs_and_risks_are_those_of_the_rule_as_the_notebook_says_it():
    events = patients.draw_events(60, 40, np.random.default_rng(3))
    for row, found, risk in zip(events, patients.causes(events), patients.true_risk(events), strict=True):
        by_hand = signs_by_hand(row)
        assert found.tolist() == by_hand
        odds = (3 if row[0] == 1 else 1) / 300 * 5.0 ** np.cumsum(np.array(by_hand) > 0)
        assert risk == pytest.approx(odds / (1 + odds), rel=1e-9)
    assert (patients.causes(events) == 10).any()


def test_diagnoses_come_as_often_as_the_known_risk_says_and_end_a_file():
    events, diagnosed = patients.simulate(6000, seed=5)
    here, risk = diagnosed >= 0, patients.true_risk(events)
    for low, high in ((0, 0.01), (0.01, 0.1), (0.1, 0.5)):
        group = here & (risk >= low) & (risk < high)
        said, came = risk[group].mean(), diagnosed[group].mean()
        assert came == pytest.approx(said, abs=4 * np.sqrt(said / group.sum()))
    for row in diagnosed[:200].tolist():
        assert row.count(1) <= 1 and (1 not in row or set(row[row.index(1) + 1 :]) <= {-1})


def test_counts_and_recency_are_what_counting_gives():
    events = patients.draw_events(5, 40, np.random.default_rng(1))
    table = patients.counts(events, recency=True)
    for i, t, e in itertools.product(range(5), (0, 7, 39), range(18)):
        before = events[i, : t + 1].tolist()
        assert table[i, t, e] == before.count(e)
        assert table[i, t, 18 + e] == (before[::-1].index(e) if e in before else 99)
    assert (patients.counts(events) == table[..., :18]).all()


# Models


def test_feature_tokens_by_hand():
    x, scale, name = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 1.0]] * 2)
    assert feature_tokens(x, scale, name, torch.tensor([9.0, 8.0])).tolist() == [[[9, 8], [2, 1], [0, -2]]]


def test_a_table_has_no_order_of_columns_and_a_timeline_no_future():
    config = ModelConfig(**SMALL, causal=False, positions="none")
    model, x = stirred(TableModel(config, 6)), torch.randn(4, 6)
    before, order = model(x), torch.randperm(6)
    model.scale_embedding.data, model.name_embedding.data = model.scale_embedding[order], model.name_embedding[order]
    assert torch.allclose(model(x[:, order]), before, atol=1e-5)
    reader, events = stirred(EventModel(ModelConfig(**SMALL))), torch.randint(18, (3, 20))
    changed = events.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 18
    assert torch.allclose(reader(events)[:, :12], reader(changed)[:, :12], atol=1e-5)
    assert not torch.allclose(reader(events)[:, 12:], reader(changed)[:, 12:], atol=1e-3)


def test_an_untrained_model_says_even_odds_and_padding_does_not_count():
    model = initialise(EventModel(ModelConfig(**SMALL)), torch.Generator().manual_seed(0))
    events, y = torch.randint(18, (3, 9)), torch.tensor([[0] * 9, [1] + [-1] * 8, [0, 1] + [-1] * 7])
    assert float(risk_loss(model, events, y)) == pytest.approx(np.log(2), abs=1e-6)
    model = stirred(model)
    logits = model(events).double()
    by_hand = [-torch.sigmoid(z if label else -z).log() for z, label in zip(logits[y >= 0], y[y >= 0], strict=True)]
    assert float(risk_loss(model, events, y)) == pytest.approx(float(torch.stack(by_hand).mean()), abs=1e-5)


def test_the_loss_of_returns_is_scipy_s_student_and_reading_days_forgets_no_day():
    model = stirred(ReturnModel(ModelConfig(**{**SMALL, "context_length": CONTEXT})))
    r = np.random.default_rng(0).normal(size=CONTEXT + 75).astype(np.float32)
    windows = torch.from_numpy(r).unfold(0, CONTEXT + 1, 1)[:3]
    sigma, freedom = model(windows[:, :-1])[:, WARM_UP:].exp().detach(), 2 + float(model.tail.exp())
    density = stats.t.logpdf(windows[:, WARM_UP + 1 :], freedom, scale=sigma * np.sqrt(1 - 2 / freedom))
    assert float(student_loss(model, windows[:, :-1], windows[:, 1:])) == pytest.approx(-density.mean(), rel=1e-4)
    found = read_days(model, r)
    assert len(found) == 75
    for day in range(CONTEXT, len(r)):
        possible = [float(model(torch.from_numpy(r[day - n : day])[None])[0, -1].exp()) for n in range(65, CONTEXT + 1)]
        assert min(abs(p - found[day - CONTEXT]) / p for p in possible) < 1e-4


# The market


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(data_path("recipes")))
    return runpy.run_path(str(data_path("recipes/volatility.py")))


def test_the_best_beliefs_are_those_of_going_through_all_paths(recipe):
    r, (P, K) = np.array([0.3, -4.0, 2.5, 0.1]), (market.transitions(), len(market.MOODS))
    assert pytest.approx(np.ones(K)) == P.sum(axis=1)
    start, density = np.linalg.matrix_power(P, 1000)[0], np.zeros((4, K))
    for day, mood in itertools.product(range(4), range(K)):
        s = market.MOODS[mood]
        jump = stats.norm.pdf(r[day], market.JUMP_MEAN * s, s * np.hypot(1, market.JUMP_DEVIATION))
        density[day, mood] = (1 - market.JUMP) * stats.norm.pdf(r[day], 0, s) + market.JUMP * jump
    tomorrow = np.zeros(K)
    for path in itertools.product(range(K), repeat=4):
        p = start[path[0]] * np.prod([P[a, b] for a, b in itertools.pairwise(path)])
        tomorrow += p * np.prod(density[range(4), path]) * P[path[-1]]
    assert recipe["best_beliefs"](r)[-1] == pytest.approx(tomorrow / tomorrow.sum(), rel=1e-8)


def test_a_mixture_s_deviation_density_and_quantile_are_those_of_draws(recipe):
    rng, mood = np.random.default_rng(0), np.array([[0.1, 0.2, 0.4, 0.2, 0.1]])
    w, m, s = market.parts_of(mood)
    part = rng.choice(len(w[0]), size=400_000, p=w[0])
    draws = rng.normal(m[0][part], s[0][part])
    assert market.deviation((w, m, s))[0] == pytest.approx(draws.std(), rel=0.02)
    assert recipe["quantile"]((w, m, s), 0.05)[0] == pytest.approx(np.quantile(draws, 0.05), rel=0.02)
    near = np.mean(np.abs(draws - 1.0) < 0.05) / 0.1
    assert market.density((w, m, s), np.array([1.0]))[0] == pytest.approx(near, rel=0.05)


def test_returns_of_the_market_have_the_deviation_of_their_mood():
    r, moods = market.simulate(60_000, seed=1)
    for mood in range(len(market.MOODS)):
        w, m, s = market.parts_of(np.eye(len(market.MOODS))[[mood]])
        assert r[moods == mood].std() == pytest.approx(market.deviation((w, m, s))[0], rel=0.06)
    assert np.mean(moods[1:] == moods[:-1]) == pytest.approx(market.STAY, abs=0.003)


# Scores


def test_net_benefit_is_what_counting_patient_by_patient_gives():
    rng = np.random.default_rng(0)
    y, risk = rng.integers(0, 2, 50), rng.random(50)
    for t in (0.05, 0.5, 0.9):
        worth = sum((1 if ill else -t / (1 - t)) for ill, p in zip(y, risk, strict=True) if p >= t) / 50
        assert scores.net_benefit(y, risk, t) == pytest.approx(worth)


def test_the_corrected_interval_covers_where_the_usual_one_does_not():
    """Means of overlapping parts of one small sample, as in random splits: the truth is 0."""
    rng, hits, usual = np.random.default_rng(0), 0, 0
    for _ in range(400):
        sample = rng.normal(size=50)
        values = [sample[rng.permutation(50)[:10]].mean() for _ in range(25)]
        mean, half = interval_of_splits(values, n_train=4, n_test=1)
        hits += abs(mean) < half
        usual += abs(mean) < stats.t.ppf(0.975, 24) * np.std(values, ddof=1) / 5
        assert half == pytest.approx(stats.t.ppf(0.975, 24) * np.std(values, ddof=1) * np.sqrt(1 / 25 + 0.25))
    assert hits / 400 > 0.9 > 0.75 > usual / 400


def test_quantile_loss_is_scikit_learn_s():
    r, var = np.random.default_rng(0).normal(size=(2, 200))
    assert scores.quantile_loss(r, var, 0.05).mean() == pytest.approx(mean_pinball_loss(r, var, alpha=0.05))


@pytest.mark.parametrize("x", [0, 1, 7, 250])
def test_kupiec_is_a_ratio_of_two_binomials(x):
    hits = np.zeros(250, dtype=int)
    hits[:x] = 1
    ratio = 2 * (stats.binom.logpmf(x, 250, x / 250) - stats.binom.logpmf(x, 250, 0.01))
    assert kupiec_ratio(hits, 0.01) == pytest.approx(ratio, abs=1e-6)


def test_kupiec_refuses_a_right_model_one_time_in_twenty():
    rng = np.random.default_rng(0)
    refused = np.mean([stats.chi2.sf(kupiec_ratio(rng.random(1000) < 0.05, 0.05), 1) < 0.05 for _ in range(1000)])
    assert refused == pytest.approx(0.05, abs=0.02)


def test_christoffersen_is_the_best_markov_chain_against_the_best_coin():
    rng = np.random.default_rng(0)
    for stay in (0.05, 0.4):
        hits = [0]
        for _ in range(400):
            hits.append(int(rng.random() < (stay if hits[-1] else 0.05)))
        pairs = list(itertools.pairwise(hits))

        def worse(p, pairs=pairs):
            return -sum(np.log(p[a] if b else 1 - p[a]) for a, b in pairs)

        chain = optimize.minimize(worse, [0.1, 0.1], bounds=[(1e-6, 1 - 1e-6)] * 2).fun
        coin = optimize.minimize_scalar(lambda p, worse=worse: worse([p, p]), bounds=(1e-6, 0.9), method="bounded").fun
        assert christoffersen_ratio(np.array(hits)) == pytest.approx(2 * (coin - chain), abs=1e-3)
    assert christoffersen_ratio(np.zeros(50)) == 0.0


# Bad data


def test_bad_tables_are_refused_in_one_line_that_says_what_to_do():
    x, y = np.ones((4, 3)), np.array([0, 1, 0, 1])
    holed = x.copy()
    holed[2, 1] = np.nan
    for table, labels, said in (
        (holed, y, r"1 values are missing, the first in row 2, column 1: fill"),
        (x, np.zeros(4), r"all 4 labels are \[0.0\]: one class alone"),
        (x, np.array([0, 1, 2, 1]), r"labels 0 and 1 were wanted, not \[0, 1, 2\]"),
        (x, y[:3], r"N labels were wanted"),
        (x[0], y, r"a table \(N, F\)"),
    ):
        with pytest.raises(CourseError, match=said):
            scores.check_table(table, labels)
    assert scores.check_table(x, y)[0].shape == (4, 3)


def test_bad_series_are_refused_in_one_line_that_says_what_to_do():
    r = np.random.default_rng(0).normal(size=300)
    holed = r.copy()
    holed[[7, 9]] = np.inf
    for series, said in (
        (holed, "2 returns are missing, the first on day 7"),
        (r[:20], "20 days were given and 100 are needed"),
        (np.zeros(200), "all returns are the same"),
        (r[None], "an array of shape"),
    ):
        with pytest.raises(CourseError, match=said):
            scores.check_returns(series, least=100)
    assert len(scores.check_returns(r, least=100)) == 300
