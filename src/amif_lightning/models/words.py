"""Words of a tokenised text, joined from their pieces, and informative ones (B texts, L tokens)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

_CONTINUED = "##"  # WordPiece's mark of a piece that continues a word

# English function words, and words of almost every report.
_STOP = """
a about above after again all also an and any are as at be been before being below between both but
by can could did do does during each either few for from further had has have here how if in into is
it its itself likely may might more most neither no nor not now of off on once only or other out
over own projects same seen several shown shows since so some such than that the their them then
there these they this those through to too under until up upon very was were what when where which
while who with within without would
chest examination exam finding findings image images impression lateral frontal obtained patient
present radiograph radiographs study view views
"""
STOP_WORDS = frozenset(_STOP.split())

# A sentence with one of these words denies a finding (after NegEx, Chapman et al. 2001).
_DENIALS = ("no", "not", "without", "neither", "nor", "negative")
_ENDS = (".", ";", "!", "?")


class Word(NamedTuple):
    """One word as the tokenizer writes it, and the columns of its pieces in the tokens."""

    text: str
    places: tuple[int, ...]


def inner_words(mask: Tensor) -> Tensor:
    """Mark (B, L) the tokens except [CLS], [SEP] and padding, given the mask (B, L) of tokens."""
    inner = mask.clone()
    inner[:, 0] = False
    # [SEP] is each row's last token. A row without tokens is already false.
    last = (mask.sum(1, keepdim=True) - 1).clamp_min(0)
    return inner.scatter(1, last, False)


def words_of(ids: Tensor, mask: Tensor, tokenizer: Tokenizer) -> list[Word]:
    """Return the words of a text with WordPiece ids and mask (L,), without [CLS] and [SEP]."""
    inner = inner_words(mask[None])[0].tolist()
    words: list[Word] = []
    for place, (number, kept) in enumerate(zip(ids.tolist(), inner, strict=True)):
        if not kept:
            continue
        piece = tokenizer.id_to_token(number) or ""
        if piece.startswith(_CONTINUED) and words:
            last = words[-1]
            words[-1] = Word(last.text + piece.removeprefix(_CONTINUED), (*last.places, place))
        else:
            words.append(Word(piece.removeprefix(_CONTINUED), (place,)))
    return words


def proper(words: Sequence[Word]) -> list[Word]:
    """Keep words of letters only that are no stop words."""
    return [word for word in words if word.text.isalpha() and word.text.lower() not in STOP_WORDS]


def informative(words: Sequence[Word], max_words: int) -> list[Word]:
    """Select up to ``max_words`` different words in text order: the longest, then the earliest.

    Medical terms tend to be long.
    """
    first: dict[str, Word] = {}
    for word in proper(words):
        first.setdefault(word.text.lower(), word)
    longest = sorted(first.values(), key=lambda word: -len(word.text))[:max_words]
    return sorted(longest, key=lambda word: word.places)


def denial_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids of the tokens that end a sentence, and of denials in any case."""
    cased = [form for word in _DENIALS for form in (word, word.capitalize(), word.upper())]
    found = ([tokenizer.token_to_id(token) for token in tokens] for tokens in (_ENDS, cased))
    ends, denials = ([number for number in ids if number is not None] for ids in found)
    return ends, denials


def affirmed(ids: Tensor, ends: Sequence[int], denials: Sequence[int]) -> Tensor:
    """Mark (B, L) the ids in sentences without a denial ("No mass."); see :func:`denial_ids`."""
    device = ids.device
    ended = torch.isin(ids, torch.tensor(ends, device=device, dtype=ids.dtype))
    sentence = ended.cumsum(1) - ended.long()  # a sentence includes its end
    denial = torch.isin(ids, torch.tensor(denials, device=device, dtype=ids.dtype)).long()
    counts = torch.zeros_like(ids).scatter_add(1, sentence, denial)
    return counts.gather(1, sentence) == 0
