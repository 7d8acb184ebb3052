"""Rivals: the source text's network, and the linear model that every classifier should have to beat."""

import collections
import re

import numpy as np
import torch
from torch import nn

from bigmodel_lib.storyworld import END
from bigmodel_lib.storyworld import sentences as said

NOISE = ["because", "of", "the", "noise"]
WORDS = 10_000  # rows of the source text's embedding; row 0 is padding


class WordIndex:
    """The most frequent words of some texts as the numbers 1, 2, …; a word that is not among them is left out.

    As the source text's framework does it: lower case, signs dropped, padding with 0 in front.
    """

    def __init__(self, texts, n_words: int = WORDS):
        counts = collections.Counter(word for text in texts for word in self.words(text))
        self.number = {word: i for i, (word, _) in enumerate(counts.most_common(n_words - 1), 1)}

    @staticmethod
    def words(text: str) -> list:
        """The words of a text: letters, digits and apostrophes, in lower case."""
        return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())

    def encode(self, texts, length: int) -> np.ndarray:
        """(N, length) int64: the last `length` words of each text, with zeros in front of a shorter one."""
        x = np.zeros((len(texts), length), dtype=np.int64)
        for row, text in enumerate(texts):
            numbers = [self.number[word] for word in self.words(text) if word in self.number][-length:]
            if numbers:
                x[row, -len(numbers) :] = numbers
        return x


def lstm_steps(x, w_in, w_hidden, bias, mask_in=1.0, mask_hidden=1.0):
    """The LSTM, one word after the other: the last hidden state.

    i, f, g, o = (x_t ⊙ m_x) W + (h ⊙ m_h) U + b;  c ← σ(f) c + σ(i) tanh(g);  h ← σ(o) tanh(c). The masks are drawn
    once for a text and stay the same at every word: dropout as in Gal & Ghahramani 2016 (NeurIPS), eq. 7.
    Shapes: x (B, T, E), w_in (E, 4 D), w_hidden (D, 4 D), bias (4 D,), mask_in (B, E), mask_hidden (B, D) -> (B, D).
    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    hidden = cell = x.new_zeros(len(x), w_hidden.shape[0])
    for x_t in x.unbind(dim=1):
        gates = (x_t * mask_in) @ w_in + (hidden * mask_hidden) @ w_hidden + bias
        i, f, g, o = gates.chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
    return hidden


class LSTMClassifier(nn.Module):
    """The source text's network: Embedding(10000, 32) → LSTM(128) → one logit, and its sigmoid is the probability.

    402,561 parameters learn, as the source text's framework counts: PyTorch's second bias of an LSTM stays at zero.
    Started as that framework does: embedding uniform within 0.05, W by Glorot, U orthogonal, biases 0 but for the
    forget gate's 1. variational: the share of each text's embedding and hidden state that `lstm_steps` drops for all of
    its words; dropout: the share of the last hidden state. Shapes: x (B, T) -> (B,).
    """

    def __init__(self, n_words=WORDS, width=32, hidden=128, dropout=0.0, variational=0.0, generator=None):
        super().__init__()
        self.embedding, self.lstm, self.dense = (
            nn.Embedding(n_words, width),
            nn.LSTM(width, hidden, batch_first=True),
            nn.Linear(hidden, 1),
        )
        self.dropout, self.variational, self.generator = dropout, variational, generator
        lstm = self.lstm
        with torch.no_grad():
            self.embedding.weight.uniform_(-0.05, 0.05, generator=generator)
            nn.init.xavier_uniform_(lstm.weight_ih_l0, generator=generator)
            nn.init.orthogonal_(lstm.weight_hh_l0, generator=generator)
            lstm.bias_ih_l0.zero_()[hidden : 2 * hidden] = 1.0
            lstm.bias_hh_l0.zero_().requires_grad_(False)
            nn.init.xavier_uniform_(self.dense.weight, generator=generator)
            self.dense.bias.zero_()

    def _mask(self, x, share):
        kept = torch.rand(x.shape, generator=self.generator) >= share
        return kept.to(x) / (1.0 - share)

    def forward(self, x):
        x = self.embedding(x)
        if self.training and self.variational:
            weights = self.lstm.weight_ih_l0.T, self.lstm.weight_hh_l0.T, self.lstm.bias_ih_l0
            masks = (
                self._mask(x[:, 0], self.variational),
                self._mask(x.new_empty(len(x), self.lstm.hidden_size), self.variational),
            )
            last = lstm_steps(x, *weights, *masks)
        else:
            last = self.lstm(x)[1][0][0]
        if self.training and self.dropout:
            last = last * self._mask(last, self.dropout)
        return self.dense(last)[:, 0]


def fit_lstm(model, x, y, seed, epochs=10, batch_size=32, weight_decay=0.0, after_epoch=None):
    """Train as the source text does: binary cross-entropy, Adam at 0.001 with ε = 1e-7, 10 epochs of batches of 32.

    x (N, T) and y (N,) are arrays; after_epoch(epoch) may return True to stop. Returns the model.
    """
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3, eps=1e-7, weight_decay=weight_decay
    )
    x, y, rng = torch.from_numpy(x), torch.from_numpy(np.asarray(y)).float(), np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        model.train()
        for rows in torch.from_numpy(rng.permutation(len(x))).split(batch_size):
            loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        if after_epoch is not None and after_epoch(epoch):
            break
    return model


@torch.no_grad()
def lstm_log_probs(model, x) -> np.ndarray:
    """ln p of both labels for every row of x: (N, 2)."""
    z = model.eval()(torch.from_numpy(x))
    return torch.stack([nn.functional.logsigmoid(-z), nn.functional.logsigmoid(z)], dim=1).numpy()


def linear_model():
    """TF-IDF of words and pairs of words, and logistic regression, by scikit-learn; `fit`, then `predict_log_proba`.

    Sources: Spärck Jones 1972 (inverse document frequency); Cox 1958.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), LogisticRegression(C=10.0, max_iter=2000)
    )


def sentence_memory(stories) -> dict:
    """{a sentence in English: the same in Chinese} from some stories, both as tokens joined by blanks."""
    memory = {}
    for story in stories:
        for step, english in zip(story.steps, story.sentences, strict=True):
            memory[" ".join(english)] = step.construction.tell_chinese(step.filling, step.pronoun)
    return memory


def answer_without_model(task, memory, world) -> list:
    """What a few rules make of a language task, as tokens: the last word of the kind asked for, or sentences by heart.

    A place, person or feeling is the last one that the story names; a summary says that the first thing came to be in
    the last place; a sentence that is not in `memory` is left untranslated; a story goes on with its most frequent end.
    """
    story = task.given[1 : task.given.index("<question>")] if "<question>" in task.given else task.given[1:]

    def last(kinds):
        return next((word for word in reversed(story) if word in kinds), "?")

    place, person = last(world.places), last(world.people)
    if task.kind == "question":
        feeling = last(said.FEELINGS)
        word = task.given[task.given.index("<question>") + 1]
        return {"Where": ["in", "the", place], "Who": [person], "How": [feeling]}.get(word, NOISE) + [END]
    if task.kind == "summary":
        thing = next((word for word in story if word in world.things), "?")
        return f"The {thing} came to be in the {place} .".split() + [END]
    if task.kind == "chinese":
        sentences = " ".join(story[:-1]).split(" . ")
        return " ".join(memory.get(s.removesuffix(" .") + " .", "") for s in sentences).split() + [END]
    return ["That", "was", "the", "end", "of", "the", "story", "."] + [END]
