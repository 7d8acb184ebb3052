"""What the trainer does for every kind of run: resume, clipping, sources with a memory, rates over time."""

import numpy as np
import pytest
import torch
import two_processes

from bigmodel_lib.config import TrainConfig
from bigmodel_lib.errors import CourseError
from bigmodel_lib.text.batches import causal_batches
from bigmodel_lib.training import checkpoints
from bigmodel_lib.training.optimizers import Optimizers, lr_schedule
from bigmodel_lib.training.trainer import Trainer, next_token_loss


def weights_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", [name for name in two_processes.RUNS if "clock" not in name])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_every_kind_of_run_goes_on_bit_for_bit(tmp_path, name, stop_after):
    whole, first, second = (two_processes.run(name) for _ in range(3))
    list(whole)
    for _, _progress in zip(range(stop_after), first, strict=False):
        pass
    first.save(tmp_path / "c.safetensors")
    drawn = []
    source = second.batches

    class Counted:
        def __call__(self, rng):
            drawn.append(second.step)
            return source(rng)

        def __getattr__(self, name):
            return getattr(source, name)

    second.batches = Counted()
    second.load(*checkpoints.load_tensors(tmp_path / "c.safetensors"), "c")
    list(second)
    wanted = weights_of(whole.model)
    assert all(torch.equal(wanted[name], weight) for name, weight in weights_of(second.model).items())
    assert [row["loss"] for row in whole.curve] == [row["loss"] for row in second.curve]
    assert second.tokens == whole.tokens
    assert drawn == list(range(10 * stop_after, 50)), "no batch is drawn again"


def test_a_gradient_is_clipped_in_preference_tuning_too(monkeypatch):
    lengths = {}
    for name in ("preferences, 64 bits", "preferences, 64 bits, clipped"):
        trainer, seen = two_processes.run(name), []
        step = trainer.optimizers.step

        def measured(lr, trainer=trainer, seen=seen, step=step):
            gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
            seen.append(torch.nn.utils.get_total_norm(gradients).item())
            step(lr)

        monkeypatch.setattr(trainer.optimizers, "step", measured)
        norms = [progress.gradient_norm for progress in trainer]
        lengths[name] = seen
        assert norms[0] > 0.01, "what is reported is the norm before clipping"
    free, clipped = lengths.values()
    assert min(free) > 0.01 and max(clipped) <= 0.01 * 1.001


def test_a_source_remembers_its_epoch_and_the_texts_that_are_left():
    _, source, _, config = two_processes.classification(torch.float32, batch_size=8)
    rng = np.random.default_rng(0)
    for _ in range(3):
        source(rng)
    kept, state = source.state_dict(), rng.bit_generator.state
    wanted = [source(rng)[0].tolist() for _ in range(9)]
    _, other, _, _ = two_processes.classification(torch.float32, batch_size=8)
    other.load_state_dict(kept)
    rng.bit_generator.state = state
    assert [other(rng)[0].tolist() for _ in range(9)] == wanted


def test_optimizers_of_ones_own_step_at_the_rates_of_the_schedule(monkeypatch):
    model, source, loss_fn, config = two_processes.pretraining(torch.float32)
    config = config.replace(decay="cosine", final_lr=0.2)
    trainer = Trainer(model, source, loss_fn, config)
    used, trainer.optimizers = [], Optimizers(model, config)
    monkeypatch.setattr(trainer.optimizers, "step", used.append)
    next(iter(trainer))
    wanted = [lr_schedule(step / config.steps, step, config.warmup_steps, "cosine", 0.2) for step in range(10)]
    assert used == wanted and len({*used}) > 3


def test_muon_takes_the_matrices_of_a_backbone():
    classifier, *_, config = two_processes.classification(torch.float32)
    adamw, muon = Optimizers(classifier, config).parts
    names = {parameter: name for name, parameter in classifier.named_parameters()}
    taken = {names[parameter] for parameter in muon.param_groups[0]["params"]}
    assert taken == {name for name in names.values() if "blocks." in name and "shift" not in name} and len(taken) == 12


def test_a_loss_in_64_bits_stays_there_and_others_are_in_32():
    x, y = torch.zeros(1, 3, dtype=torch.long), torch.tensor([[1, -1, 2]])
    for dtype, wanted in ((torch.float64, torch.float64), (torch.float32,) * 2, (torch.bfloat16, torch.float32)):
        logits = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
        assert next_token_loss(lambda x, logits=logits: logits, x, y).dtype == wanted


def test_batches_too_small_for_the_processes_are_refused():
    model, source, loss_fn, _ = two_processes.pretraining(torch.float32)
    with pytest.raises(CourseError, match="batch_size 1 cannot be shared by 2 processes"):
        Trainer(model, source, loss_fn, TrainConfig(steps=1, batch_size=1), processes=two_processes.Processes(0, 2))


def small_trainer(random_model, **changes):
    """A run of eight steps on a text of random tokens."""
    tokens = np.random.default_rng(0).integers(0, 11, 500)
    config = TrainConfig(steps=8, batch_size=3, adamw_lr=0.01, optimizer="adamw")
    return Trainer(random_model(**changes).train(), causal_batches(tokens, 3, 12), next_token_loss, config)


def test_the_share_of_the_targets_weighs_loss_and_gradient(random_model):
    norms, losses = [], []
    for share in (1.0, 0.25):
        trainer = small_trainer(random_model)
        tensors, _ = trainer.next_batch()
        loss, norm = trainer.train_step(*tensors, lr=0.5, share=share, measure=True)
        losses.append(loss.item())
        norms.append(norm.item())
    assert losses[1] == pytest.approx(losses[0] / 4) and norms[1] == pytest.approx(norms[0] / 4, rel=1e-4)


def test_what_is_left_out_follows_the_run_and_only_a_run_that_leaves_out_touches_pytorchs_generator(random_model):
    for changes, follows in ((dict(), False), (dict(dropout=0.3), True), (dict(ngrams=2), True)):
        losses = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            trainer = small_trainer(random_model, **changes)
            before = torch.get_rng_state()
            losses.append([progress.loss for progress in trainer])
            assert torch.equal(torch.get_rng_state(), before) != follows, changes
        assert losses[0] == losses[1], changes
