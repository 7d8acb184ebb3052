"""The rival of every classifier in notebook 07b: the source text's network, words through an LSTM to one logit."""

import collections
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Generator, Tensor, nn

from bigmodel_lib.model.devices import device_of, to_device

WORDS = 10_000  # rows of the source text's embedding; row 0 is padding


class WordIndex:
    """The most frequent words of some texts as the numbers 1, 2, …; a word that is not among them is left out."""

    def __init__(self, texts: Sequence[str], n_words: int = WORDS):
        counts = collections.Counter(word for text in texts for word in self.words(text))
        self.number = {word: i for i, (word, _) in enumerate(counts.most_common(n_words - 1), 1)}

    @staticmethod
    def words(text: str) -> list[str]:
        """Letters, digits and apostrophes, in lower case."""
        return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())

    def encode(self, texts: Sequence[str], length: int) -> ndarray:
        """(N, length) int64: the last `length` words of each text, with zeros in front of a shorter one."""
        x = np.zeros((len(texts), length), dtype=np.int64)
        for row, text in enumerate(texts):
            numbers = [self.number[word] for word in self.words(text) if word in self.number][-length:]
            x[row, length - len(numbers) :] = numbers
        return x


def lstm_steps(x: Tensor, w_in: Tensor, w_hidden: Tensor, bias: Tensor, mask_x: Any = 1.0, mask_h: Any = 1.0) -> Tensor:
    """The LSTM, one word after the other: the last hidden state.

    i, f, g, o = (x_t ⊙ m_x) W + (h ⊙ m_h) U + b;  c ← σ(f) c + σ(i) tanh(g);  h ← σ(o) tanh(c).
    Shapes: x (B, T, E), w_in (E, 4 D), w_hidden (D, 4 D), bias (4 D,), masks (B, E) and (B, D) -> (B, D).
    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Gal & Ghahramani 2016, eq. 7 (masks).
    """
    hidden = cell = x.new_zeros(len(x), w_hidden.shape[0])
    for x_t in x.unbind(dim=1):
        gates = (x_t * mask_x) @ w_in + (hidden * mask_h) @ w_hidden + bias
        i, f, g, o = gates.chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
    return hidden


class LSTMClassifier(nn.Module):
    """Embedding(10000, 32) → LSTM(128) → one logit, whose sigmoid is the probability. Shapes: x (B, T) -> (B,).

    402,561 parameters learn, as in the source text's framework, and start as there: PyTorch's second bias stays at 0.
    dropout: the share of a text's inputs and hidden states that training hides, the same ones at all its words.
    Source: Gal & Ghahramani 2016 (dropout).
    """

    def __init__(self, generator: Generator | None = None, dropout: float = 0.0):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32)
        self.lstm = nn.LSTM(32, 128, batch_first=True)
        self.dense = nn.Linear(128, 1)
        self.dropout = dropout
        lstm: Any = self.lstm
        with torch.no_grad():
            self.embedding.weight.uniform_(-0.05, 0.05, generator=generator)
            nn.init.xavier_uniform_(lstm.weight_ih_l0, generator=generator)
            nn.init.orthogonal_(lstm.weight_hh_l0, generator=generator)
            lstm.bias_ih_l0.zero_()[128:256] = 1.0
            lstm.bias_hh_l0.zero_().requires_grad_(False)
            nn.init.xavier_uniform_(self.dense.weight, generator=generator)
            self.dense.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        vectors = self.embedding(x)
        lstm: Any = self.lstm
        if self.training and self.dropout:
            masks = [nn.functional.dropout(vectors.new_ones(len(x), width), self.dropout) for width in (32, 128)]
            last = lstm_steps(vectors, lstm.weight_ih_l0.T, lstm.weight_hh_l0.T, lstm.bias_ih_l0, *masks)
        else:
            last = lstm(vectors)[1][0][0]
        return self.dense(last)[:, 0]


def fit_lstm(
    model: nn.Module, x: ndarray, y: ndarray, seed: int, weight_decay: float = 0.0, lr: float = 1e-3
) -> Iterator[int]:
    """Train on x (N, T) and y (N,) as the source text does, 10 epochs; gives the number of each that is done."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, eps=1e-7, weight_decay=weight_decay)
    device, rng = device_of(model), np.random.default_rng(seed)
    inputs, targets = to_device(x, device), to_device(y, device).float()
    for epoch in range(1, 11):
        model.train()
        for rows in to_device(rng.permutation(len(x)), device).split(32):
            loss = nn.functional.binary_cross_entropy_with_logits(model(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        yield epoch


@torch.no_grad()
def lstm_log_probs(model: nn.Module, x: ndarray) -> ndarray:
    """ln p of both labels for every row of x. Shapes: (N, T) -> (N, 2)."""
    z = model.eval()(to_device(x, device_of(model)))
    return nn.functional.logsigmoid(torch.stack([-z, z], dim=1)).cpu().numpy()
