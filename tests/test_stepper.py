"""Stepping through what a model writes: the probabilities are the model's, and another choice changes the future."""

import pytest
import torch

from bigmodel_lib.config import ModelConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.generation import write
from bigmodel_lib.model.transformer import LanguageModel, initialise
from bigmodel_lib.text.sources import data_path
from bigmodel_lib.text.tokenizers import ByteTokenizer
from bigmodel_lib.training.checkpoints import load_model
from bigmodel_lib.viz.stepper import SHOWN, TokenStepper

CONFIG = ModelConfig(vocab_size=256, context_length=32, d_model=16, n_layers=1, n_heads=2, d_ff=32, init="gpt2")


@pytest.fixture(scope="module")
def model():
    return initialise(LanguageModel(CONFIG), torch.Generator().manual_seed(0))


def test_it_shows_what_the_model_wrote_with_its_probabilities(model):
    stepper = TokenStepper(model, ByteTokenizer(), "ab", n_tokens=20, temperature=0.5, seed=3)
    assert stepper.text == write(model, ByteTokenizer(), "ab", n_tokens=20, temperature=0.5, seed=3)
    ids = [97, 98, *stepper.written]
    for place in (0, 7, 19):
        with torch.no_grad():
            wanted = (model(torch.tensor([ids[: 2 + place]]))[0, -1] / 0.5).softmax(dim=-1)
        step = stepper.steps[place]
        assert step["p"] == pytest.approx(float(wanted[stepper.written[place]]), rel=1e-4)
        assert step["ps"] == pytest.approx(wanted.topk(SHOWN).values.tolist(), abs=1e-4)
        assert stepper.candidates[place] == wanted.topk(SHOWN).indices.tolist()


def test_another_choice_is_written_and_what_came_before_stays(model):
    stepper = TokenStepper(model, ByteTokenizer(), "ab", n_tokens=20, seed=3)
    before, wanted = list(stepper.written), stepper.candidates[5][2]
    stepper.choice = [5, 2]
    assert stepper.written[:5] == before[:5] and stepper.written[5] == wanted and len(stepper.written) == 20
    assert stepper.steps[5]["p"] == pytest.approx(stepper.steps[5]["ps"][2], abs=1e-4)
    assert [len(step["names"]) for step in stepper.steps] == [SHOWN] * 20


def test_it_stays_within_the_context_and_refuses_an_empty_prompt(model):
    assert len(TokenStepper(model, ByteTokenizer(), "ab", n_tokens=500).steps) == CONFIG.context_length - 2
    with pytest.raises(CourseError, match="at least one token"):
        TokenStepper(model, ByteTokenizer(), "")


@pytest.mark.parametrize("model_of", ["first_model", "novelist"])
def test_in_print_no_token_covers_another(model_of):
    text = TokenStepper(*load_model(data_path(model_of)), "The old man", n_tokens=60).picture()[0].axes[0]
    boxes = [patch.get_bbox() for patch in text.patches]
    assert len(boxes) == len(text.texts) == 60
    for box, label in zip(boxes, text.texts, strict=True):
        assert box.width == len(label.get_text())
        assert label.get_position() == pytest.approx(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
    for box, after in zip(boxes, boxes[1:], strict=False):
        assert (after.x0, after.y0) == (box.x1, box.y0) or after.x0 == 0 and after.y0 > box.y1
