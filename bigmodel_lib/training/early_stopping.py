"""Stop when the loss on held-out data gets worse, and keep the best weights."""

from collections.abc import Callable

from torch import Tensor

from bigmodel_lib.training.trainer import Trainer


def train_until_worse(
    trainer: Trainer, measure: Callable[[], float], every: int = 20, patience: int = 5
) -> list[tuple[int, float]]:
    """Train until `measure()` has not been lowest for `patience` times; the model goes back to its best weights.

    Returns [(step, measured)], the start included. Early stopping: Prechelt 1998.
    """

    def weights() -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}

    history, kept = [(0, measure())], weights()
    for progress in trainer:
        if progress.step % every and progress.fraction < 1.0:
            continue
        history.append((progress.step, measure()))
        values = [value for _, value in history]
        if values[-1] == min(values):
            kept = weights()
        elif len(values) - 1 - values.index(min(values)) >= patience:
            break
    trainer.model.load_state_dict(kept)
    return history
