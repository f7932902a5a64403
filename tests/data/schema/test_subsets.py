from __future__ import annotations

import pytest

from amif_lightning.data.schema.answers import Count, subsets_of, tally
from amif_lightning.data.schema.questions import AnswerType, VQAExample


def row(answer: str, answer_type: AnswerType = "", question_type: str = "") -> VQAExample:
    return VQAExample(
        "X/test/0", "", "test", "i", "i", "q", answer, (answer,), answer_type, question_type
    )


def test_both_closed_open_rules_are_named() -> None:
    assert subsets_of(row("left", "closed", "pos")) == (
        "overall",
        "closed/field",
        "open/answer",
        "type/pos",
    )
    assert subsets_of(row("yes", "open")) == ("overall", "open/field", "closed/answer")


def test_a_release_without_the_field_has_no_field_strata() -> None:
    assert subsets_of(row("yes")) == ("overall", "closed/answer")


def test_tally_counts_each_row_once_per_stratum() -> None:
    rows = [row("yes", "closed", "b"), row("left", "closed", "a"), row("ct", "open", "a")]
    counts = tally(rows, [True, False, True])
    assert counts == {
        "overall": Count(2, 3),
        "closed/field": Count(1, 2),
        "open/field": Count(1, 1),
        "closed/answer": Count(1, 1),
        "open/answer": Count(1, 2),
        "type/a": Count(1, 2),
        "type/b": Count(1, 1),
    }
    assert list(counts)[:3] == ["overall", "closed/field", "open/field"]
    assert list(counts)[-2:] == ["type/a", "type/b"]


def test_tally_refuses_flags_of_another_length() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        tally([row("yes")], [True, False])


def test_percentages_are_rounded_once_and_small_counts_have_none() -> None:
    assert str(Count(167, 451)) == "37.0 (167/451)"
    assert str(Count(29, 29)) == "29/29"
    assert str(Count(30, 30)) == "100.0 (30/30)"
    assert Count(0, 0).percent is None
    assert str(Count(0, 0)) == "0/0"


@pytest.mark.parametrize(("correct", "count"), [(3, 2), (-1, 2)])
def test_a_count_of_more_than_was_asked_cannot_be_made(correct: int, count: int) -> None:
    with pytest.raises(ValueError, match="0 <= correct <= count"):
        Count(correct, count)
