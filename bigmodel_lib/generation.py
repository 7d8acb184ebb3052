"""Output: from logits to text.

python -m bigmodel_lib.generation --checkpoint DIR --prompt "I love programming"
"""

import math
import sys

import torch

from bigmodel_lib.checkpoints import load_model
from bigmodel_lib.config import CourseError
from bigmodel_lib.devices import choose_device, evaluating
from bigmodel_lib.pretraining import OneLineParser


def sample_next(logits, temperature, top_k, generator):
    """Draw one token from softmax(logits / temperature), from the top_k likeliest only if top_k is not 0.

    Temperature 0 takes the likeliest. Shapes: logits (V,) -> (). Source of top-k: Fan et al. 2018, section 5.4.
    """
    if temperature == 0:
        return logits.argmax()
    if 0 < top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
    return torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)[0]


@torch.no_grad()
def generate(model, tokens, n_tokens, temperature=0.8, top_k=0, seed=0):
    """Yield n_tokens ids that follow `tokens` (N,), one at a time; the model sees the last T of all so far.

    Raises CourseError for an empty prompt or impossible settings.
    """
    if not model.config.causal:
        raise CourseError(
            "this model was trained to guess hidden tokens (an encoder) and cannot write: use a causal one"
        )
    if len(tokens) == 0:
        raise CourseError("a prompt of at least one token was wanted, none was given: write a first word")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise CourseError(
            f"temperature {temperature} is not 0 or more: choose 0 for the likeliest token, 1 for the model's own"
        )
    if top_k < 0 or n_tokens < 0:
        raise CourseError(f"top_k {top_k} and tokens {n_tokens} must be 0 or more: choose such")
    device = model.token_embedding.device
    generator = torch.Generator().manual_seed(seed)
    window = [int(token) for token in tokens][-model.config.context_length :]
    for _ in range(n_tokens):
        with evaluating(model):
            logits = model(torch.tensor([window], device=device))[0, -1].float().cpu()
        token = int(sample_next(logits, temperature, top_k, generator))
        yield token
        window = [*window, token][-model.config.context_length :]


def write(model, tokenizer, prompt, n_tokens=200, temperature=0.8, top_k=0, seed=0) -> str:
    """The text that follows a prompt. Raises CourseError for a prompt with a character that the tokenizer lacks."""
    return tokenizer.decode(list(generate(model, tokenizer.encode(prompt), n_tokens, temperature, top_k, seed)))


def parse_options(argv):
    """The options of the command line; an impossible one ends the program with one line and code 2."""
    parser = OneLineParser(prog="generation", description="Write text with a pretrained model.")
    parser.add_argument("--checkpoint", metavar="DIR", required=True, help="folder of a finished pretraining run")
    parser.add_argument("--prompt", required=True, help="the text to continue")
    parser.add_argument("--tokens", type=int, default=300, help="how many tokens to write (default: 300)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0: always the likeliest; 1: as learned (default: 0.8)"
    )
    parser.add_argument(
        "--top-k", type=int, default=0, help="choose among the k likeliest only; 0: among all (default)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to compute")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Run the command; returns its exit code, 2 with one line on stderr for bad input."""
    try:
        options = parse_options(argv)
        model, tokenizer = load_model(options.checkpoint, choose_device(options.device))
        rest = (options.tokens, options.temperature, options.top_k, options.seed)
        print(options.prompt + write(model, tokenizer, options.prompt, *rest))
        return 0
    except CourseError as error:
        print(f"generation: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
