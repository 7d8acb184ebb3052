"""The roofline: its two clocks count what a product moves and computes; its widget asks them with its settings."""

import json
import pathlib

import numpy as np
import pytest

from bigmodel_lib.viz.plots import plt
from bigmodel_lib.viz.roofline import BYTES, Roofline, least_times

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
MEASURED = {
    name: json.loads((DATA / file).read_text()) for name, file in (("H100", "gpu.json"), ("H200", "gpu_h200.json"))
}


def test_the_clocks_count_every_number_and_every_operation():
    a, b = np.ones((3, 5), np.float32), np.ones((5, 2), np.float32)
    moved = a.nbytes + b.nbytes + (a @ b).nbytes
    operations = sum(2 for _ in range(3) for _ in range(2) for _ in range(5))
    assert least_times(3, 5, 2, 4, 10.0, 8.0) == pytest.approx((moved / 8, operations / 10))


def test_one_row_waits_for_memory_and_many_rows_for_arithmetic():
    moving, computing = least_times(1, 4096, 4096, 2, 989e12, 2.9e12)
    assert moving > 100 * computing
    moving, computing = least_times(8192, 4096, 4096, 2, 989e12, 2.9e12)
    assert computing > moving


@pytest.mark.parametrize("card", MEASURED)
@pytest.mark.parametrize("kind", BYTES)
def test_no_measured_product_is_above_the_roof(card, kind):
    room = Roofline(MEASURED).cards[card]
    assert len(room["measured"][kind]) == 4
    for n, speed in room["measured"][kind]:
        bound = max(least_times(n, n, n, BYTES[kind], room["peaks"][kind], room["bandwidth"]))
        assert speed <= 2 * n**3 / bound


def test_the_widget_asks_with_its_own_card_format_and_sizes():
    toy = Roofline(MEASURED, card="H200", format="float32", m=16, k=32, n=64)
    found = MEASURED["H200"]
    wanted = least_times(16, 32, 64, 4, 67e12, found["products"]["copied_bytes_per_second"])
    assert toy.times() == pytest.approx(wanted)
    assert Roofline(MEASURED).card == "H100"


def test_the_picture_puts_the_star_where_the_slower_clock_says():
    toy = Roofline(MEASURED, m=1)
    (ax,) = toy.picture()[0].axes
    ((x,), (y,)) = ax.lines[-1].get_data()
    assert y == pytest.approx(2 * 4096 * 4096 / max(toy.times()) / 1e12)
    assert x == pytest.approx(2 * 4096 * 4096 / (2 * (4096 * 4096 + 2 * 4096)))
    plt.close(ax.figure)


@pytest.mark.parametrize("rows, pace", [(1, "memory"), (4096, "arithmetic")])
def test_its_title_says_what_sets_the_pace(rows, pace):
    (ax,) = Roofline(MEASURED, m=rows).picture()[0].axes
    assert ax.get_title(loc="left") == f"({rows}, 4096) @ (4096, 4096) on an H100: {pace} sets the pace"
    plt.close(ax.figure)
