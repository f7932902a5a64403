from __future__ import annotations

import pytest

from amif_lightning.data.preprocessing.normalization import collapse, is_yes_no, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"),
        ("NO.", "no"),
        ("\tRight   lower\u00a0lobe \n", "right lower lobe"),
        ("X-Ray", "xray"),
        ("x ray of the chest", "xray of the chest"),
        ("AP/PA", "ap pa"),
        ("xr - plain film", "xr plain film"),
        ("t2-weighted", "t2-weighted"),  # a hyphen without spaces stays
        ("ct with (iv) contrast", "ct with iv contrast"),
        ("""a,b.c'd!e?f"g(h)i*j#k:l;m~n""", "abcdefghijklmn"),
        ("crohn\u2019s", "crohn\u2019s"),  # typographic quotes are not in the rule
        ("?!", ""),
        ("左肺, 右侧", "左肺右侧"),
        ("左肺，右侧。", "左肺右侧"),
        ("CT 图像 是？", "ct 图像是"),
    ],
)
def test_normalise_follows_the_rule(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_normalise_deletes_before_it_looks_for_hyphens() -> None:
    # 'film. - x' is 'film - x' once the dot is gone; deleting later would keep the hyphen.
    assert normalise("film .- x") == "film x"


def test_collapse_keeps_case_and_punctuation() -> None:
    assert collapse("  Is\tthis\u00a0 OK? ") == "Is this OK?"


def test_only_yes_and_no_are_closed_by_answer() -> None:
    answers = ("yes", "no", "yes it is", "left", "")
    assert [is_yes_no(a) for a in answers] == [True, True, False, False, False]
