"""How near a laptop comes to a GPU: `make bench-long` (a text of yours: TEXT=file; 15 minutes on 2 cores).

nanoGPT's documentation names 1.4697 nats per character as the best validation loss of its model of 10.65 million
parameters, trained on Tiny Shakespeare on one A100. This trains one model on the same text and split for a quarter of
an hour and reports its loss over the whole validation split, from the last weights: nothing is picked by that split.
Tiny Shakespeare is fetched once, if it is not there and there is a network; on another text the number is no rival.
"""

import argparse
import sys

import torch

from bigmodel_lib.errors import CourseError
from bigmodel_lib.measuring.costs import hardware
from bigmodel_lib.measuring.evaluation import evaluate
from bigmodel_lib.model.transformer import LanguageModel, count_parameters, initialise
from bigmodel_lib.recipes import preset
from bigmodel_lib.text import batches, sources
from bigmodel_lib.text.tokenizers import CharacterTokenizer
from bigmodel_lib.training.trainer import Trainer, next_token_loss

WANTED = 1.4697  # nats per character
LONG = dict(context_length=256, batch_size=8, dropout=0.1)  # the text is read several times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="a UTF-8 text (default: Tiny Shakespeare)")
    parser.add_argument("--minutes", type=float, default=14.5, help="of training; what is left goes to the evaluation")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        text = sources.read_text(options.text or sources.named_text("shakespeare"))
        tokenizer = CharacterTokenizer(text)
        model_config, config = preset("large", tokenizer.vocab_size, seed=options.seed, minutes=options.minutes, **LONG)
        train, validation = batches.split_tokens(tokenizer.encode(text), model_config.context_length)
    except CourseError as error:
        print(f"bench-long: {error}", file=sys.stderr)
        return 2
    model = initialise(LanguageModel(model_config), torch.Generator().manual_seed(options.seed))
    print(f"{hardware()}\n{options.text or 'Tiny Shakespeare'}: {len(text):,} characters")
    print(f"{count_parameters(model):,} parameters, context {model_config.context_length}\n", flush=True)
    source = batches.causal_batches(train, config.batch_size, model_config.context_length)
    run, told = Trainer(model, source, next_token_loss, config), 0.0
    for look in run:
        if look.seconds >= told or look.fraction >= 1.0:
            sample = evaluate(model, validation[:16_384])
            losses = f"batches {look.loss:.4f}  a part held out {sample:.4f}"
            print(f"{look.seconds:6.0f} s  step {look.step:5}  {losses}", flush=True)
            told = look.seconds + 60
    loss, seen = evaluate(model, validation), evaluate(model, train[: len(validation)])
    read = run.step * config.batch_size * model_config.context_length / len(train)
    print(f"\nthe text was read {read:.1f} times; training text {seen:.4f}, validation {loss:.4f} nats per character")
    if options.text:
        print(f"({WANTED} is for Tiny Shakespeare: this is another text)")
    else:
        print(f"{abs(loss - WANTED):.4f} {'above' if loss > WANTED else 'below'} {WANTED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
