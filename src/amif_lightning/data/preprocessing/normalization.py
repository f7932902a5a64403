"""Text normalisation for every comparison of answers and questions."""

from __future__ import annotations

import re

_DELETED = str.maketrans("", "", ",.'!?\"()*#:;~，。！？（）：；、")
# Chinese has no spaces between words, but releases contain some after commas.
_BETWEEN_CHINESE = re.compile(r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])")


def collapse(text: str) -> str:
    """Strip, and replace each run of white space by one space."""
    return " ".join(text.split())


def normalise(text: str) -> str:
    """Normalise a question or an answer; the result may be empty.

    In this order: lower-case; delete ``, . ' ! ? " ( ) * # : ; ~``; write ``x ray`` and ``x-ray``
    as ``xray``; turn spaced hyphens and all slashes into spaces; collapse white space; in Chinese
    text, also delete ``，。！？（）：；、`` and the space between two characters. Medical VQA code
    commonly applies these rules to questions; here they apply to answers too.

    >>> normalise("X-ray,  AP/PA - (supine)?")
    'xray ap pa supine'
    """
    text = text.lower().translate(_DELETED)
    text = text.replace("x ray", "xray").replace("x-ray", "xray")
    text = collapse(text.replace(" - ", " ").replace("/", " "))
    return _BETWEEN_CHINESE.sub("", text)


def words_in(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"\w+", text.casefold())


def is_yes_no(answer: str) -> bool:
    """Return whether a normalised answer is yes or no, the second of the closed/open rules."""
    return answer in ("yes", "no")
