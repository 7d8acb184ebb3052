"""Make files in data/ again: `make data NAME=stories` runs one recipe, `make data` says which there are.

After each recipe, data/README.md gets the new sizes and checksums. Standard library only: the list needs nothing else.
"""

import hashlib
import pathlib
import re
import subprocess
import sys

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
ROW = re.compile(r"^\| `(?P<name>\S+)` \| (?P<what>.+) \| [\d,]+ \| `\w+` \|$", re.M)
RECIPES = {  # in an order in which each finds what it needs: {name: (what it writes, minutes on two cores)}
    "first_model": ("first_model/", "3 minutes"),
    "stories": ("storyteller/", "20 minutes"),
    "assistant": ("assistant/", "5 hours, on a GPU 8 minutes"),
    "preferences": ("preferences.json", "25 minutes"),
    "tiny_gpt2": ("tiny_gpt2/", "15 minutes"),
    "encoder": ("encoder/", "7 minutes"),
    "interpretation": ("answerer/ and interpretation.json", "15 minutes"),
    "blocks": ("blocks.json", "50 minutes"),
    "ladder": ("ladder.json", "20 minutes"),
    "scaling": ("scaling.json", "15 minutes on a GPU, hours without"),
    "budget": ("budget.json", "90 minutes, on a GPU 3"),
    "tried": ("tried.json", "10 minutes"),
    "faster": ("faster.json, from books that you gather", "10 minutes with a GPU"),
    "rivals": ("rivals.json", "10 minutes with a GPU"),
    "patients": ("patients.json and timelines.safetensors", "10 minutes"),
    "diagnosis": ("diagnosis.json", "8 minutes"),
    "volatility": ("volatility.json and market.safetensors", "8 minutes"),
    "readers": ("readers.json and readers/", "15 minutes"),
    "drawings": ("drawings/", "5 minutes"),
    "scenes": ("scenes/", "8 minutes with a GPU"),
    "trust": ("trust.json", "2 hours"),
    "classroom": ("classroom.json, on Linux", "25 minutes"),
    "novelist": ("novelist/, from books that you gather", "3 hours"),
    "quantised": ("quantised.json, from the same books", "5 minutes"),
}


def menu():
    """One line a recipe: its name, what it writes, how long it takes."""
    lines = ["make data NAME=…   writes in data/                        takes about"]
    lines += [f"{name:<18} {what:<38} {minutes}" for name, (what, minutes) in RECIPES.items()]
    return "\n".join([*lines, f"{'all':<18} {'all that need no books':<38} 9 hours"])


def describe(row):
    """A row of the datasheet, its size and checksum as they are now."""
    content = (DATA / row["name"]).read_bytes()
    return f"| `{row['name']}` | {row['what']} | {len(content):,} | `{hashlib.sha256(content).hexdigest()}` |"


def write_datasheet():
    """Put the size and the checksum of every file into data/README.md."""
    datasheet = DATA / "README.md"
    datasheet.write_bytes(ROW.sub(describe, datasheet.read_text(encoding="utf-8")).encode("utf-8"))


def main(name, *more):
    """Run one recipe, or all; `more` goes to the recipe. Returns the exit code."""
    for each in [name for name, (what, _) in RECIPES.items() if "books" not in what] if name == "all" else [name]:
        path = DATA / "recipes" / each
        code = subprocess.call([sys.executable, str(path if path.is_dir() else path.with_suffix(".py")), *more])
        if code:
            return code
        write_datasheet()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
