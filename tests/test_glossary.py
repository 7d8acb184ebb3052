"""GLOSSARY.md: every term that a notebook gives in Chinese is in it, with the notebook where it comes first."""

import functools
import pathlib
import re

import nbformat
import pytest

from bigmodel_lib.model.transformer import count_parameters
from bigmodel_lib.training.checkpoints import load_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATHS = {path.stem.split("_")[0]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
CHINESE = "[\u4e00-\u9fff]+"
ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \| \[(\w+)\]\(notebooks/(.+?)\) \|$", re.MULTILINE)


@functools.cache
def rows() -> list[tuple[str, str, str, str, str]]:
    """(term, Chinese, meaning, number, file) of each row."""
    return ROW.findall((ROOT / "GLOSSARY.md").read_text(encoding="utf-8"))


@functools.cache
def given_in(number: str) -> set[str]:
    """The Chinese terms that a notebook's text gives in brackets."""
    cells = nbformat.read(PATHS[number], as_version=4).cells
    text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    return {term for bracket in re.findall(r"\(([^()]*)\)", text) for term in re.findall(CHINESE, bracket)}


def first_uses() -> dict[str, str]:
    """{Chinese term: the first notebook that gives it}"""
    found: dict[str, str] = {}
    for number in PATHS:
        for term in given_in(number):
            found.setdefault(term, number)
    return found


def test_every_line_of_the_table_is_read():
    text = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")
    assert len(rows()) == text.count("\n| ") - 2 > 150


def test_every_term_given_in_chinese_is_in_the_glossary():
    known = {part for _, chinese, *_ in rows() for part in re.findall(CHINESE, chinese)}
    assert not {term: number for term, number in first_uses().items() if term not in known}


def test_each_row_names_the_notebook_where_its_term_comes_first():
    first, wrong = first_uses(), {}
    for term, chinese, _, number, file in rows():
        if number in PATHS:
            assert PATHS[number].name == file, term
            found = {first.get(part) for part in re.findall(CHINESE, chinese)}
            if found != {number}:
                wrong[term] = (number, found)
    assert not wrong


def test_terms_are_in_order_and_named_once():
    terms = [re.sub("^[^a-z]+", "", term.lower()) for term, *_ in rows()]
    assert terms == sorted(terms)
    assert len(set(terms)) == len(terms) and len({chinese for _, chinese, *_ in rows()}) == len(terms)


CAST = re.findall(r"\(`(\w+)`, ([\d,]+)\)", (ROOT / "GLOSSARY.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("folder", "size"), CAST)
def test_the_cast_has_the_sizes_that_it_says(folder, size):
    assert count_parameters(load_model(ROOT / "data" / folder)[0]) == int(size.replace(",", ""))
