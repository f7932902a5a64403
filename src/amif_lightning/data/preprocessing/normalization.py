"""The one text normalisation of the suite: all answers and questions are compared through it."""

from __future__ import annotations

import re

_DELETED = str.maketrans("", "", ",.'!?\"()*#:;~，。！？（）：；、")
# Chinese puts no spaces between words, and releases write them after some commas only.
_BETWEEN_CHINESE = re.compile(r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])")


def collapse(text: str) -> str:
    """Replace every run of white space, which releases have amid texts, by one space; strip."""
    return " ".join(text.split())


def normalise(text: str) -> str:
    """Bring a question or an answer into the form in which it is compared, possibly empty.

    In this order: lower-case; delete ``, . ' ! ? " ( ) * # : ; ~``; write ``x ray`` and ``x-ray``
    as ``xray``; a hyphen between spaces and every slash become a space; collapse white space; in
    Chinese text, also delete ``，。！？（）：；、`` and the space between two characters. It is
    the clean-up that medical VQA code commonly applies to questions, used here for answers as well.

    Example:
        >>> normalise("X-ray,  AP/PA - (supine)?")
        'xray ap pa supine'
    """
    text = text.lower().translate(_DELETED)
    text = text.replace("x ray", "xray").replace("x-ray", "xray")
    text = collapse(text.replace(" - ", " ").replace("/", " "))
    return _BETWEEN_CHINESE.sub("", text)


def is_yes_no(answer: str) -> bool:
    """Whether a normalised answer is exactly yes or no, the second of the closed/open rules."""
    return answer in ("yes", "no")
