"""What became of the exercises of the first edition, whose notebooks are still handed in.

Ids stay for good, and most of the first edition's 70 are here still, some of them in another notebook. These aren't.
"""

DROPPED = {  # {id: the exercise that comes nearest now, "" where none does}
    "00-words": "",
    "00-order": "",
    "00-bytes": "",
    "00-gigabytes": "05-memory",
    "01-entropy": "",
    "01-softmax": "01-attention",
    "01-variance": "",
    "01-hide": "01-mask",
    "01-stays": "",
    "01-rope": "03-turn",
    "02-utf8": "",
    "02-merges": "02-bpe-loop",
    "02-overlap": "",
    "03-residual": "",
    "03-reach": "08-reach",
    "03-loss": "06-first-loss",
    "03-crossing": "",
    "04-chain": "04-paths",
    "04-transpose": "04-linear",
    "04-adamw": "",
    "04-slips": "",
    "04-blind": "",
    "05-parallel": "",
    "05-bound": "05b-roof",
    "06-leak": "",
    "06-interval": "",
    "06-paired": "10-difference",
    "07-pairs": "07-overlap",
    "09-hits": "",
}
CHANGED = {  # {id that both editions have: what the second asks otherwise}
    "01-lookup": "one of its two values is another",
    "02-surprise": "it asks for bits, not nats",
    "03-xor": "it has other hidden units",
    "03-block": "the block takes other arguments",
    "03-count": "it asks for another model, in millions",
}


def words_on(exercise_id: str) -> str:
    """Why an answer of the first edition isn't graded."""
    if exercise_id in CHANGED:
        return f"of the first edition, not graded: the exercise has changed since ({CHANGED[exercise_id]})"
    nearest = DROPPED[exercise_id]
    now = f"nearest now is {nearest}" if nearest else "nothing like it is there now"
    return f"of the first edition, not graded: dropped since; {now}"
