"""The company's arithmetic, its labels and its picture; the price list; what quantising is measured by."""

import datetime
import json
import pathlib
import re
import tomllib

import numpy as np
import pytest
import torch

from bigmodel_lib.exercises.nb14 import quantise, step_seconds
from bigmodel_lib.viz.company import FIELDS, MONTHS, Company, cash, money
from bigmodel_lib.viz.plots import plt

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
PRICES = tomllib.loads((DATA / "prices.toml").read_text(encoding="utf-8"))
FOUND = json.loads((DATA / "quantised.json").read_text(encoding="utf-8"))
PLAN = dict(price=0.05, requests=1000.0, growth=0.1, fall=0.02, cost=0.01, fixed=30.0, one_off=100.0)


def test_cash_adds_up_month_by_month():
    wanted, n, worth = [-100.0], 1000.0, 1.0
    for _ in range(MONTHS):
        wanted.append(wanted[-1] + n * 0.05 * worth - n * 0.01 * worth - 30)
        n, worth = n * 1.1, worth * 0.98
    assert cash(PLAN) == pytest.approx(np.array(wanted))
    assert cash(PLAN, 5) == pytest.approx(wanted[:6])


@pytest.mark.parametrize("dollars, said", [
    (49_400, "$49k"), (-91_100, "−$91k"), (1_770_000, "$1.8M"), (-5.2e6, "−$5.2M"), (999_600, "$1.0M"),
    (0, "$0k"), (-20, "$0k"),
])  # fmt: skip
def test_money_is_short(dollars, said):
    assert money(dollars) == said


def test_the_toy_starts_with_its_first_way_and_counts_with_its_own_numbers():
    toy = Company({"one": PLAN, "two": {**PLAN, "price": 0.09}})
    assert toy.way == "one" and {name: getattr(toy, name) for name in FIELDS} == PLAN
    toy.price = 0.03
    figure, alt = toy.picture()
    (ax,) = figure.axes
    drawn = [line.get_ydata() for line in ax.lines]
    assert any(np.allclose(y, cash({**PLAN, "price": 0.03}) / 1e3) for y in drawn if len(y) == MONTHS + 1)
    assert any(np.allclose(y, cash(PLAN) / 1e3) for y in drawn if len(y) == MONTHS + 1) and len(alt) > 30
    assert ax.get_title(loc="left").startswith("one: ") and Company({"one": PLAN}, price=0.2).price == 0.2
    plt.close(figure)


@pytest.mark.parametrize("name", PRICES)
def test_a_price_names_its_page_and_day_or_is_an_assumption(name):
    row = PRICES[name]
    assert row["low"] <= row["value"] <= row["high"] and row["what"]
    if row.get("assumption"):
        assert row["assumption"] is True and not {"page", "read", "says", "range"} & row.keys()
    else:
        assert re.match(r"https://[\w.-]+/", row["page"]) and isinstance(row["read"], datetime.date) and row["says"]
        assert row.get("range", "ours") == "ours"


@pytest.mark.parametrize("name", [n for n, row in PRICES.items() if "page" in row and "range" not in row])
def test_a_range_that_isn_t_ours_stood_on_the_page(name):
    row, said = PRICES[name], [float(number) for number in re.findall(r"\d+(?:\.\d+)?", PRICES[name]["says"])]
    if name == "overhead":
        said = [1 + percent / 100 for percent in said]
    assert any(abs(row["low"] - x) < 0.005 for x in said) and any(abs(row["high"] - x) < 0.005 for x in said)


def test_a_higher_price_always_matters_more_than_dearer_requests_or_fewer_of_them():
    for cost in (0.0, 0.01, 0.04, 0.049):
        plan = {**PLAN, "cost": cost}
        lost = {name: cash(plan)[-1] - cash({**plan, name: plan[name] * by})[-1]
                for name, by in (("price", 0.8), ("requests", 0.8), ("cost", 1.2))}  # fmt: skip
        assert lost["price"] >= max(lost.values()) - 1e-9


def test_a_step_s_two_clocks_go_on_at_once():
    assert step_seconds(1, 10, 1e9, 1e3, 2e9, 1e12, 1e15) == pytest.approx((1e9 + 1e4) / 1e12)
    assert step_seconds(10**6, 1, 1e9, 0.0, 2e9, 1e12, 1e15) == pytest.approx(2.0)


@pytest.mark.parametrize("bits, group", [(8, 4), (4, 2), (2, 8), (3, 1)])
def test_what_is_quantised_stays_within_half_a_scale_and_has_few_levels(bits, group):
    w = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    w[:, 2] = 0
    near, top = quantise(w, bits, group), 2 ** (bits - 1) - 1
    scale = w.reshape(-1, group, 5).abs().amax(dim=1, keepdim=True).expand(-1, group, -1).reshape(8, 5) / top
    assert ((near - w).abs() <= scale / 2 + 1e-6).all() and (near[:, 2] == 0).all()
    levels = (near / scale.clamp(min=1e-30)).round()
    assert levels.abs().max() <= top and torch.allclose(levels * scale, near, atol=1e-6)


def test_quantised_rows_get_better_with_each_thing_that_is_done():
    rises = {(r["bits"], r["group"], len(r["kept"]), r["centred"]): r for r in FOUND["rows"]}
    order = [(4, 0, 0, False), (4, 64, 0, False), (4, 64, 1, False), (4, 64, 2, False), (4, 64, 2, True)]
    means = [rises[key]["rise"] for key in order]
    assert means == sorted(means, reverse=True) and means[1] > 2 and means[-1] < 0.1
    assert all(r["low"] < r["rise"] < r["high"] for r in FOUND["rows"])
    assert all(r["int8 kernel"] < r["float32"] < r["int8, turned back each time"] for r in FOUND["speeds"])


def test_what_the_notebook_says_of_long_letters_and_of_kernels():
    ours = dict(price=0.05, requests=300e3, growth=0.08, fall=0.02, fixed=24e3, one_off=20e3)
    plan = {**ours, "cost": (10_000 * PRICES["large_in"]["value"] + 300 * PRICES["large_out"]["value"]) / 1e6}
    by = {name: 1.2 if name in ("cost", "fixed", "fall", "one_off") else 0.8 for name in FIELDS}
    ends = {name: cash({**plan, name: plan[name] * by[name]})[-1] for name in FIELDS}
    assert plan["cost"] == pytest.approx(0.028) and sorted(ends, key=ends.__getitem__)[:3] == ["price", "fixed", "cost"]
    assert all(2.5 < r["float32"] / r["int8 kernel"] < 4 for r in FOUND["speeds"])
