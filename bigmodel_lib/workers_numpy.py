"""The model by hand on several cores: processes that share out the texts of each batch."""

import contextlib
import math
import multiprocessing
import signal

import numpy as np

from bigmodel_lib.backprop_numpy import loss_and_gradients
from bigmodel_lib.config import CourseError


def views_of(memory, shapes):
    """{name: array} over one piece of memory. shapes: {name: (shape, dtype)}; each array starts at 64 bytes."""
    views, start = {}, 0
    for name, (shape, dtype) in shapes.items():
        size = math.prod(shape)
        views[name] = np.frombuffer(memory, dtype, size, start).reshape(shape)
        start += -(-size * np.dtype(dtype).itemsize // 64) * 64
    return views


def work(pipe, memories, shapes, config, one_block):
    """What a worker process does: wait for texts, leave their gradients in shared memory, answer with the loss."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the one who reads, and ends us through the pipe
    parameters, gradients = (views_of(memory, shapes) for memory in memories)
    try:
        while True:
            number, tokens, targets = pipe.recv()
            try:
                answer, found = loss_and_gradients(tokens, targets, parameters, config, one_block)
                for name, gradient in found.items():
                    gradients[name][...] = gradient
            except Exception as error:
                answer = error
            pipe.send((number, answer))
    except (EOFError, OSError):
        pass


class Workers:
    """Processes, a core for each, that share out the texts of a batch: `loss_and_gradients` on `n` cores.

    Threads would wait for each other, since only one of them runs Python at a time; processes do not. The arrays of
    `parameters` are moved to memory that all of them see, so optimizers that change them in place are seen by all.
    Products of matrices should take one thread each: set OPENBLAS_NUM_THREADS=1 before NumPy is loaded. Use it as a
    context, `with Workers(parameters, config, 2, FastBlock()) as workers`, under `if __name__ == "__main__"` in a file.
    Raises CourseError for less than one core.
    """

    def __init__(self, parameters, config, n, one_block):
        if n < 1:
            raise CourseError(f"{n} workers: the batch needs at least 1, the one who asks")
        self.parameters, self.config, self.one_block, self.number = parameters, config, one_block, 0
        context = multiprocessing.get_context("spawn")
        shapes = {name: (w.shape, w.dtype.str) for name, w in parameters.items()}
        size = sum(w.nbytes + 64 for w in parameters.values())
        shared = context.RawArray("b", size)
        for name, view in views_of(shared, shapes).items():
            view[...] = parameters[name]
            parameters[name] = view
        self.pipes, self.processes, self.gradients = [], [], []
        for _ in range(n - 1):
            ours, theirs = context.Pipe()
            memory = context.RawArray("b", size)
            process = context.Process(
                target=work, args=(theirs, (shared, memory), shapes, config, one_block), daemon=True
            )
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
            self.gradients.append(views_of(memory, shapes))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join()

    def loss_and_gradients(self, tokens, targets):
        """The loss of a batch in nats per token, and {name: gradient} of it. Shapes: tokens and targets (B, T).

        A mean over all targets is the parts' means, weighted by how many targets each has.
        Raises CourseError when a worker has ended, and what a worker raised.
        """
        self.number += 1
        counts = (targets >= 0).sum(axis=-1)
        texts = np.arange(len(tokens))
        parts = [rows for rows in np.array_split(texts, len(self.pipes) + 1) if counts[rows].any()] or [texts]
        shares = [float(counts[rows].sum() / max(counts.sum(), 1)) for rows in parts]
        for pipe, rows in zip(self.pipes, parts[1:], strict=False):
            with contextlib.suppress(OSError):  # a worker that has ended is named where its answer is waited for
                pipe.send((self.number, tokens[rows], targets[rows]))
        loss, gradients = loss_and_gradients(
            tokens[parts[0]], targets[parts[0]], self.parameters, self.config, self.one_block
        )
        loss *= shares[0]
        for gradient in gradients.values():
            gradient *= shares[0]
        for pipe, share, found in zip(self.pipes, shares[1:], self.gradients, strict=False):
            loss += share * self.answer(pipe)
            for name, gradient in found.items():
                gradient *= share
                gradients[name] += gradient
        return loss, gradients

    def answer(self, pipe):
        """The loss of the batch asked for last; the answer to one that was interrupted is let go."""
        number = None
        while number != self.number:
            try:
                number, answer = pipe.recv()
            except (EOFError, OSError):
                raise CourseError("a worker process has ended: leave this context and open a new one") from None
        if isinstance(answer, Exception):
            raise answer
        return answer
