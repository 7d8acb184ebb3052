"""Drawing digits of 8 × 8 pixels: as texts of grey levels for a language model, or by a generator that plays a game.

Grey levels are 0 to 16. Images here are (n, 64) rows of pixels, from 0 to 1 for the game.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS, UNKNOWN, VOCABULARY, PIXELS = 17, 27, 28, 64  # tokens: 17 grey levels, ten classes, "any class"
NOISE = 16  # numbers that a generator starts from


def digits_as_text(levels: Tensor, labels: Tensor) -> Tensor:
    """The class's token, then the grey levels row by row: (n, 8, 8), (n,) -> (n, 65), int64."""
    return torch.cat([LEVELS + labels.view(-1, 1), levels.flatten(1)], dim=1).long()


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with leaky ReLUs between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


class Game(nn.Module):
    """A generator (noise, class) -> image, and a critic (image, class) -> logit of "real".

    The class is given to both as ten numbers, one of them 1 (Mirza & Osindero 2014); without classes as ten zeros.
    Source: Goodfellow et al. 2014.
    """

    def __init__(self, width: int = 128):
        super().__init__()
        self.generator = perceptron(NOISE + 10, width, width, PIXELS)
        self.critic = perceptron(PIXELS + 10, width, width, 1)

    def draw(self, kinds: Tensor) -> Tensor:
        """Images of the classes in `kinds` (n, 10), from new noise: (n, 64)."""
        noise = torch.randn(len(kinds), NOISE, device=kinds.device)
        return self.generator(torch.cat([noise, kinds], dim=1)).sigmoid()

    def judge(self, images: Tensor, kinds: Tensor) -> Tensor:
        """The critic's logits: above 0 it takes an image for real. (n, 64), (n, 10) -> (n,)."""
        return self.critic(torch.cat([images, kinds], dim=1))[:, 0]


def game_losses(on_real: Tensor, on_fake: Tensor) -> tuple[Tensor, Tensor]:
    """(the critic's loss, the generator's) from the critic's logits on real and generated images, (n,) each.

    Critic: the mean of -ln σ(real), plus the mean of -ln(1 - σ(fake)). Generator: the mean of -ln σ(fake), which pulls
    hardest where it loses. Source: Goodfellow et al. 2014, section 3.
    """
    critic = functional.softplus(-on_real).mean() + functional.softplus(on_fake).mean()
    return critic, functional.softplus(-on_fake).mean()


def game_optimizers(game: Game, lr: float, lead: float = 1.0) -> tuple[Any, Any]:
    """Adam for the generator, at `lead` times the rate, and for the critic (β₁ = 0.5, Radford et al. 2016)."""
    parts = (game.generator, lr * lead), (game.critic, lr)
    generator, critic = (torch.optim.Adam(part.parameters(), lr=rate, betas=(0.5, 0.99)) for part, rate in parts)
    return generator, critic


def play(game: Game, optimizers: tuple[Any, Any], images: Tensor, kinds: Tensor, blur: float = 0.1) -> tuple:
    """One move of the critic, one of the generator: (the critic's loss, the generator's), as numbers on the device.

    blur: deviation of the noise that the critic sees on all images, which keeps it from winning outright.
    """
    for_generator, for_critic = optimizers
    fake = game.draw(kinds)
    seen = [x + blur * torch.randn_like(x) for x in (images, fake.detach())]
    critic, _ = game_losses(game.judge(seen[0], kinds), game.judge(seen[1], kinds))
    for_critic.zero_grad()
    critic.backward()
    for_critic.step()
    again = game.judge(fake + blur * torch.randn_like(fake), kinds)
    _, generator = game_losses(again, again)
    for_generator.zero_grad()
    generator.backward()
    for_generator.step()
    return critic.detach(), generator.detach()
