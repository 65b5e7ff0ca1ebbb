"""Answers as CSV: what players sent is data to a spreadsheet, never a formula."""

import csv
import io

import pytest

from lake.query import Answer, as_csv


def _cells(answer: Answer) -> list[list[str]]:
    return list(csv.reader(io.StringIO(as_csv(answer), newline="")))


@pytest.mark.parametrize("sign", "=+-@＝＋－＠﹢﹣﹫")
@pytest.mark.parametrize(
    "before", ["", " ", "  ", "\t", "\r", "\n", "\r\n", "\xa0", "\u3000", "\ufeff", "\x00", " \u200b"]
)
def test_a_formula_is_text(sign: str, before: str) -> None:
    """In cells and in heads, whatever blank or unseen character is before it, in full width as well."""
    formula = f"{before}{sign}cmd|' /C calc'!A0"
    assert _cells(Answer([formula], [(formula,)])) == [["'" + formula], ["'" + formula]]


@pytest.mark.parametrize("text", ["\tA1", "\rA1", "\nA1", "\t"])
def test_a_text_that_begins_another_cell_is_text(text: str) -> None:
    """A tab or a line break would move what follows to where a formula may begin."""
    assert _cells(Answer(["a"], [(text,)])) == [["a"], ["'" + text]]


@pytest.mark.parametrize("text", ["", " ", "Big Buck Bunny", " a=b", "1-2", "a@b", "'=1", "émission", "日本"])
def test_other_text_is_as_it_is(text: str) -> None:
    """Nothing is put before it."""
    assert _cells(Answer(["a", "b"], [(text, 1)])) == [["a", "b"], [text, "1"]]


def test_numbers_stay_numbers() -> None:
    """Negative ones too: their type says that nobody wrote them as text."""
    assert _cells(Answer(["a", "b", "c"], [(-1, -1.5, None)])) == [["a", "b", "c"], ["-1", "-1.5", ""]]
