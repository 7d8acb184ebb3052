"""Images: glyphs lie where they should, patches and their places do what they say, boxes and scores are right."""

import itertools
import runpy

import numpy as np
import pytest
import torch
from torch.nn import functional

from bigmodel_lib.interpretability.maps import record
from bigmodel_lib.model.layers import rotate
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.vision import detection as d
from bigmodel_lib.vision.digits import Game, digits_as_text, game_losses, game_optimizers, play
from bigmodel_lib.vision.glyphs import (
    CLASSES,
    FONTS,
    INK,
    compose,
    digit_bank,
    draw,
    fitted,
    glyph_bank,
    poses,
    scenes,
    single_glyphs,
)  # fmt: skip
from bigmodel_lib.vision.models import (
    PatchTransformer,
    ResNet,
    cut_patches,
    image_config,
    label_loss,
    load_vision,
    rotations_2d,
    save_vision,
)  # fmt: skip


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def small(positions="rope"):
    config = image_config(5, 49, d_model=16, n_layers=2, n_heads=2, d_ff=24, positions=positions)
    model = PatchTransformer(config, 4).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("w_o", "w_down", "w_out")):  # they start at zero
            torch.nn.init.normal_(parameter, std=0.3)
    return model


# Glyphs


def test_every_glyph_in_every_font_is_there_in_the_middle_and_no_two_classes_are_the_same():
    bank = glyph_bank().view(len(CLASSES), len(FONTS), 32, 32)
    assert bank.min() >= 0 and bank.max() <= 1 + 1e-5 and len(CLASSES) >= 20
    inked = bank > 0.1
    high, wide = inked.any(-1).sum(-1), inked.any(-2).sum(-1)
    assert (torch.maximum(high, wide) - INK).abs().max() <= 1
    for font in range(len(FONTS)):
        apart = torch.cdist(bank[:, font].flatten(1), bank[:, font].flatten(1)) + 99 * torch.eye(len(CLASSES))
        assert apart.min() > 2


def test_a_glyph_lies_where_it_is_put_and_is_as_long_as_asked():
    rng = np.random.default_rng(0)
    row = CLASSES.index("H") * len(FONTS)
    for x, y, size in ((14, 14, 20), (9, 18, 12)):
        where = torch.from_numpy(poses(rng, np.array([size]), np.array([[x, y]]), 28, 0.0))
        inked = draw(glyph_bank()[[row]], where)[0] > 0.3
        rows, columns = inked.any(1).nonzero(), inked.any(0).nonzero()
        assert abs((rows[0] + rows[-1] + 1) / 2 - y) <= 1 and abs((columns[0] + columns[-1] + 1) / 2 - x) <= 1
        assert abs(rows[-1] - rows[0] + 1 - size) <= 2


def test_noise_and_roughness_change_an_image_and_leave_it_readable():
    which, where, _ = map(torch.from_numpy, single_glyphs(np.random.default_rng(0), 200))
    plain = draw(glyph_bank()[which], where)
    assert torch.equal(plain, draw(glyph_bank()[which], where))
    for how in (dict(noise=0.3), dict(rough=1.0)):
        changed = draw(glyph_bank()[which], where, **how)
        flat = torch.stack([plain.flatten(1), changed.flatten(1)], 1)
        same = torch.stack([torch.corrcoef(pair)[0, 1] for pair in flat])
        assert 0.5 < same.median() < 0.999


def test_an_empty_image_stays_empty_and_digits_fill_their_bitmaps():
    assert fitted(torch.zeros(5, 7)).sum() == 0
    bitmaps, labels = digit_bank()
    assert bitmaps.shape == (1797, 32, 32) and labels.bincount().min() > 150
    inked = bitmaps > 0.1
    assert (torch.maximum(inked.any(1).sum(1), inked.any(2).sum(1)) >= INK - 2).all()


def test_scenes_have_one_to_five_glyphs_and_boxes_around_their_ink():
    which, where, labels = map(torch.from_numpy, scenes(np.random.default_rng(0), 60))
    images, boxes = compose(which, where, labels, noise=0.0)
    counts = (labels >= 0).sum(1)
    assert counts.min() >= 1 and counts.max() == 5 and set(counts.tolist()) == {1, 2, 3, 4, 5}
    for scene in (counts == 1).nonzero()[:, 0]:
        place = int((labels[scene] >= 0).nonzero()[0, 0])
        rows, columns = (images[scene] > 0.25).nonzero(as_tuple=True)
        left, top, right, bottom = (48 * d.corners(boxes[scene, place])).tolist()
        found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert (left, top, right, bottom) == pytest.approx([float(x) for x in found], abs=1e-3)
        assert (boxes[scene][labels[scene] < 0] == 0).all()


# Patches


def test_patches_are_those_that_unfold_cuts():
    images = torch.randn(3, 12, 12)
    assert torch.equal(cut_patches(images, 4), functional.unfold(images[:, None], 4, stride=4).transpose(1, 2))


def test_scores_of_turned_patches_depend_on_how_far_apart_they_are_in_rows_and_columns():
    q, k = torch.randn(2, 1, 1, 1, 16).double()

    def score(here, there):
        tables = (rotations_2d(torch.tensor([place]).double(), 16) for place in (here, there))
        one, other = (rotate(x, *table) for x, table in zip((q, k), tables, strict=True))
        return (one * other).sum().item()

    assert score((1.0, 2.0), (4.0, 3.0)) == pytest.approx(score((3.0, 0.0), (6.0, 1.0)))
    assert abs(score((1.0, 2.0), (4.0, 3.0)) - score((1.0, 2.0), (3.0, 4.0))) > 1e-3
    assert abs(score((1.0, 2.0), (4.0, 3.0)) - score((1.0, 2.0), (4.0, 2.0))) > 1e-3


def test_without_positions_order_is_nothing_and_with_either_kind_it_is_something():
    image = torch.rand(1, 28, 28)
    mixed = cut_patches(image, 4)[:, torch.randperm(49)].view(7, 7, 4, 4).transpose(1, 2).reshape(1, 28, 28)
    for positions, changes in (("none", False), ("rope", True), ("learned", True)):
        model = small(positions)
        assert ((model(mixed) - model(image)).abs().max().item() > 1e-3) == changes


def test_a_shift_by_a_whole_patch_is_seen_by_learned_places_and_by_rotations_only_through_the_edge_of_the_paper():
    image = torch.zeros(1, 28, 28)
    image[:, 4:20, 4:20] = torch.rand(16, 16)

    def change(model, by):
        return (model(image.roll(by, 2)) - model(image)).abs().max().item()

    turned, learned = small(), small("learned")
    assert change(turned, 4) < 0.2 * change(turned, 2) and change(learned, 4) > 0.2 * change(learned, 2)
    turned.blocks = turned.blocks[:1]  # after one block, empty patches have nothing to tell yet
    assert change(turned, 4) < 1e-5 < change(turned, 2)


def test_readers_learn_record_their_maps_and_come_back_from_a_file(tmp_path):
    images, labels = torch.rand(8, 28, 28), torch.arange(8) % 5
    assert record(small(), images, "weights").shape == (2, 8, 2, 49, 49)
    for make in (small, lambda: ResNet(5, 4)):
        model, losses = make().train(), []
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            loss = label_loss(model, images, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.7 * losses[0]
        save_vision(tmp_path / "model.safetensors", model, seed=3)
        again, notes = load_vision(tmp_path / "model.safetensors", make())
        assert notes == {"seed": 3} and not again.training
        assert (again(images) - model.eval()(images)).abs().max() < 0.1


# Detection


def giou_by_hand(a, b):
    (al, at, ar, ab), (bl, bt, br, bb) = ((x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (a, b))
    both = max(0, min(ar, br) - max(al, bl)) * max(0, min(ab, bb) - max(at, bt))
    union = (ar - al) * (ab - at) + (br - bl) * (bb - bt) - both
    hull = (max(ar, br) - min(al, bl)) * (max(ab, bb) - min(at, bt))
    return both / union, both / union - (hull - union) / hull


def test_iou_and_the_cost_of_a_box_are_those_by_hand():
    a, b = torch.rand(5, 4) * 0.5 + 0.1, torch.rand(4, 4) * 0.5 + 0.1
    for i, j in itertools.product(range(5), range(4)):
        iou, giou = giou_by_hand(a[i].tolist(), b[j].tolist())
        assert d.box_iou(a, b)[i, j].item() == pytest.approx(iou, abs=1e-5)
        far = (a[i] - b[j]).abs().sum().item()
        assert d.box_cost(a, b)[i, j].item() == pytest.approx(5 * far + 2 * (1 - giou), abs=1e-4)
    apart = torch.tensor([[0.1, 0.1, 0.1, 0.1]]), torch.tensor([[0.9, 0.9, 0.1, 0.1]])
    assert d.box_iou(*apart) == 0 and d.box_cost(*apart) > d.box_cost(apart[0], apart[1] - 0.2)


def test_the_matching_is_the_cheapest_of_all_and_leaves_out_empty_places():
    cost, labels = (
        torch.rand(6, 5, 3),
        torch.tensor([[1, 2, 3], [-1, 0, 4], [2, -1, -1], [0, 0, 0], [1, -1, 1], [4, 4, -1]]),
    )
    scene, query, place = d.match(cost, labels)
    for one in range(6):
        there = (labels[one] >= 0).nonzero()[:, 0].tolist()
        mine = scene == one
        assert sorted(place[mine].tolist()) == there and len(set(query[mine].tolist())) == len(there)
        total = cost[one][query[mine], place[mine]].sum().item()
        best = min(
            sum(cost[one, q, t].item() for q, t in zip(qs, there, strict=True))
            for qs in itertools.permutations(range(5), len(there))
        )
        assert total == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("scores, hits, n_true, wanted", [
    ([0.9, 0.8, 0.7], [1, 0, 1], 2, (51 * 1 + 50 * 2 / 3) / 101),
    ([0.7, 0.9, 0.8], [1, 1, 0], 2, (51 * 1 + 50 * 2 / 3) / 101),
    ([0.9], [1], 2, 51 / 101),
    ([0.9, 0.1], [0, 1], 1, 0.5),
    ([0.9, 0.8], [0, 0], 3, 0.0),
    ([], [], 3, 0.0),
])  # fmt: skip
def test_average_precision_of_cases_done_by_hand(scores, hits, n_true, wanted):
    assert d.average_precision(np.array(scores), np.array(hits, bool), n_true) == pytest.approx(wanted)


def scene_by_hand():
    """Two scenes. Class 0: a glyph in each; class 1: one in the first. Boxes of a tenth, moved by shares of it."""
    true = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.6, 0.6, 0.1, 0.1]], [[0.5, 0.5, 0.1, 0.1], [0, 0, 0, 0]]])
    labels = torch.tensor([[0, 1], [0, -1]])
    found = torch.tensor([
        # right; a second one on the same; of class 0, where 1 is
        [[0.2, 0.2, 0.1, 0.1], [0.21, 0.2, 0.1, 0.1], [0.6, 0.6, 0.1, 0.1]],
        # moved by 0.3 of its side: IoU 7/13 = 0.54; nothing there; nothing there
        [[0.53, 0.5, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1], [0.1, 0.9, 0.1, 0.1]],
    ])  # fmt: skip
    return (torch.tensor([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]]), torch.tensor([[0, 0, 0], [0, 1, 1]]), found), labels, true


def test_mean_ap_of_a_case_done_by_hand():
    by_threshold = d.mean_ap(*scene_by_hand(), thresholds=(0.5, 0.6))
    # class 0, IoU 0.5: right, wrong (taken), wrong (another class), right: precision 1, 1/2, 1/3, 1/2; recall 1/2 and 1
    class_0 = (51 * 1 + 50 * 0.5) / 101
    assert by_threshold == pytest.approx([(class_0 + 0) / 2, (51 / 101 + 0) / 2])
    assert d.mean_ap(*scene_by_hand()).shape == (10,)


def random_detections(n=40):
    which, where, labels = map(torch.from_numpy, scenes(np.random.default_rng(3), n))
    boxes = compose(which, where, labels)[1]
    found = boxes.clamp(min=0.1).repeat(1, 2, 1) + 0.02 * torch.randn(n, 10, 4)
    kinds = labels.clamp(min=0).repeat(1, 2)
    kinds = torch.where(torch.rand(kinds.shape) < 0.7, kinds, torch.randint(len(CLASSES), kinds.shape))
    return (torch.rand(n, 10), kinds, found), labels, boxes


def ap_by_loops(found, labels, boxes, threshold):
    """From the definition: one list of all boxes of a class, walked down; at each of 101 recalls the best precision."""
    by_class = []
    for kind in sorted({int(x) for x in labels.flatten() if x >= 0}):
        listed = [
            (-found[0][s, q].item(), s, q) for s in range(len(labels)) for q in range(10) if found[1][s, q] == kind
        ]
        n_true, taken, points, right = int((labels == kind).sum()), set(), [], 0
        for rank, (_, s, q) in enumerate(sorted(listed), 1):
            fits = {
                g: giou_by_hand(found[2][s, q].tolist(), boxes[s, g].tolist())[0]
                for g in range(5)
                if labels[s, g] == kind and (s, g) not in taken
            }
            best = max(fits, key=fits.get, default=None)
            if best is not None and fits[best] >= threshold:
                taken.add((s, best))
                right += 1
            points.append((right, right / rank))
        levels = [max([p for r, p in points if 100 * r >= level * n_true], default=0.0) for level in range(101)]
        by_class.append(sum(levels) / 101)
    return sum(by_class) / len(by_class)


def test_mean_ap_is_that_of_plain_loops():
    found, labels, boxes = random_detections()
    for threshold in (0.5, 0.75):
        ours = d.mean_ap(found, labels, boxes, (threshold,))[0]
        assert 0.05 < ours < 0.95 and ours == pytest.approx(ap_by_loops(found, labels, boxes, threshold), abs=2e-3)


def test_mean_ap_is_that_of_cocos_own_tool():
    pytest.importorskip("pycocotools", reason="COCO's own evaluation is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found, labels, boxes = random_detections()
    truth, said = [], []
    for scene in range(len(labels)):
        for kind, box in zip(labels[scene].tolist(), boxes[scene], strict=True):
            left, top, *_ = (1000 * d.corners(box)).tolist()
            wide, high = (1000 * box[2:]).tolist()
            if kind >= 0:
                truth.append(
                    dict(
                        id=len(truth) + 1,
                        image_id=scene,
                        category_id=kind,
                        bbox=[left, top, wide, high],
                        area=wide * high,
                        iscrowd=0,
                    )
                )
        for score, kind, box in zip(*(part[scene] for part in found), strict=True):
            left, top, *_ = (1000 * d.corners(box)).tolist()
            said.append(
                dict(
                    image_id=scene,
                    category_id=int(kind),
                    score=float(score),
                    bbox=[left, top, *(1000 * box[2:]).tolist()],
                )
            )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(len(labels))],
        "annotations": truth,
        "categories": [{"id": i} for i in range(len(CLASSES))],
    }
    coco.createIndex()
    tool = COCOeval(coco, coco.loadRes(said), "bbox")
    tool.evaluate()
    tool.accumulate()
    tool.summarize()
    ours = d.mean_ap(found, labels, boxes)
    assert 0.1 < ours[0] < 0.95
    assert [ours.mean(), ours[0]] == pytest.approx(tool.stats[:2].tolist(), abs=1e-6)


def test_both_detectors_learn_one_batch_and_give_sixteen_answers():
    which, where, labels = map(torch.from_numpy, scenes(np.random.default_rng(0), 4, most=2))
    images, boxes = compose(which, where, labels)
    detector = d.Detector(image_config(33, 144, d_model=32, n_layers=2, n_heads=2, d_ff=64), width=8)
    for model, loss_fn, lr in ((detector, d.set_loss, 0.003), (d.HeatMap(32, 8), d.heat_loss, 0.01)):
        optimizer, losses = torch.optim.Adam(model.parameters(), lr=lr), []
        for _ in range(60):
            loss = loss_fn(model, images, labels, boxes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.6 * losses[0], type(model)
        assert [part.shape[:2] for part in model.eval().find(images)] == [(4, 16)] * 3
    assert [part.shape for part in detector.every_layer(images)] == [(2, 4, 16, 33), (2, 4, 16, 4), (4, 36, 12, 12)]
    assert detector.places().shape == (160, 2)
    assert record(detector, images, "weights").shape == (2, 4, 2, 160, 160)


def test_the_loss_of_a_set_is_that_of_a_loop_over_layers_queries_and_glyphs():
    class Fixed:
        def every_layer(self, images):
            return logits, found, torch.zeros(3, 4 + 2, 4, 4)

    logits, found = torch.randn(2, 3, 5, 3), torch.rand(2, 3, 5, 4) * 0.4 + 0.3
    labels, boxes = torch.tensor([[0, 1], [1, -1], [0, 0]]), torch.rand(3, 2, 4) * 0.4 + 0.3
    pairs = list(
        zip(
            *(part.tolist() for part in d.match(d.pair_cost(logits[-1], found[-1], labels, boxes), labels)), strict=True
        )
    )
    total = weights = box = 0.0
    for layer, scene, query in itertools.product(range(2), range(3), range(5)):
        (kind,) = [int(labels[s, place]) for s, q, place in pairs if (s, q) == (scene, query)] or [2]
        weight = 0.2 if kind == 2 else 1.0
        total, weights = total - weight * logits[layer, scene, query].log_softmax(-1)[kind], weights + weight
    for layer, (scene, query, place) in itertools.product(range(2), pairs):
        box += d.box_cost(found[layer, scene, query][None], boxes[scene, place][None]).item() / (2 * len(pairs))
    images = torch.zeros(3, 16, 16)
    assert d.set_loss(Fixed(), images, labels, boxes, helped=0.0).item() == pytest.approx(
        (total / weights).item() + box, rel=1e-5
    )
    with_heat = d.set_loss(Fixed(), images, labels, boxes, helped=2.0) - d.set_loss(Fixed(), images, labels, boxes, 0.0)
    unlikely = torch.cat([torch.full((3, 2, 4, 4), -4.0), torch.zeros(3, 4, 4, 4)], dim=1)
    assert with_heat.item() == pytest.approx(2 * d.heat_cost(unlikely, labels, boxes).item(), rel=1e-4)


def test_a_query_starts_at_home_and_homes_cover_the_scene():
    detector = d.Detector(image_config(33, 144, d_model=32, n_layers=1, n_heads=2, d_ff=32), width=8)
    boxes = detector(torch.rand(1, 48, 48))[1][0]
    assert sorted({round(x, 2) for x in boxes[:, 0].tolist()}) == pytest.approx([0.125, 0.375, 0.625, 0.875], abs=0.12)
    homes = detector.places()[144:]
    assert (
        homes[0].tolist() == pytest.approx([1.0, 1.0]) and homes[1, 1] > homes[1, 0]
    )  # the second: same row, next column
    assert boxes[1, 0] > boxes[1, 1]  # x further right than y is down


def test_peaks_of_a_heat_map_come_back_as_boxes():
    model = d.HeatMap(32, 8).eval()
    out = torch.full((1, 36, 12, 12), -9.0)
    out[0, 5, 3, 8] = 3.0  # class 5 in row 3, column 8
    out[0, -4:, 3, 8] = torch.tensor([0.0, 0.0, -3.0, -3.0])
    model.forward = lambda images: out  # type: ignore[method-assign]
    scores, labels, boxes = model.find(torch.zeros(1, 48, 48))
    assert labels[0, 0] == 5 and scores[0, 0] > 0.9 > 0.1 > scores[0, 1]
    assert boxes[0, 0].tolist() == pytest.approx([8.5 / 12, 3.5 / 12, 0.5, 0.5])


# Drawing digits

energy_distance = runpy.run_path(str(data_path("recipes/drawings.py")))["energy_distance"]


def test_a_digit_as_a_text_is_its_class_and_then_its_rows():
    levels = torch.arange(128).view(2, 8, 8) % 17
    text = digits_as_text(levels, torch.tensor([3, 0]))
    assert text.shape == (2, 65) and text[:, 0].tolist() == [20, 17]
    assert text[1, 1:9].tolist() == levels[1, 0].tolist()


def test_the_game_s_losses_are_those_of_binary_cross_entropy():
    real, fake = torch.randn(6), torch.randn(9)
    bce = functional.binary_cross_entropy_with_logits
    critic, generator = game_losses(real, fake)
    assert critic.item() == pytest.approx((bce(real, torch.ones(6)) + bce(fake, torch.zeros(9))).item(), abs=1e-6)
    assert generator.item() == pytest.approx(bce(fake, torch.ones(9)).item(), abs=1e-6)


def test_a_move_changes_both_players_and_the_game_brings_drawings_nearer():
    game, images = Game(32), torch.rand(64, 64) * 0.1
    images[:, ::2] += 0.8  # stripes
    kinds, optimizers = torch.zeros(64, 10), game_optimizers(game, 0.003)
    before = energy_distance(game.draw(kinds).detach(), images)
    kept = [parameter.clone() for parameter in game.parameters()]
    play(game, optimizers, images, kinds)
    assert all(not torch.equal(a, b) for a, b in zip(kept, game.parameters(), strict=True))
    for _ in range(300):
        play(game, optimizers, images, kinds)
    assert energy_distance(game.draw(kinds).detach(), images) < 0.5 * before


def test_energy_distance_is_its_formula_and_near_zero_for_equal_distributions():
    a, b = torch.randn(5, 3), torch.randn(4, 3) + 1
    across = np.mean([(x - y).norm().item() for x in a for y in b])
    one, other = (np.mean([(x - y).norm().item() for x, y in itertools.permutations(z, 2)]) for z in (a, b))
    assert energy_distance(a, b) == pytest.approx(2 * across - one - other, abs=1e-5)
    assert abs(energy_distance(torch.randn(400, 3), torch.randn(400, 3))) < 0.05
