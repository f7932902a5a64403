"""The words of a tokenised text, put together from pieces, and which of them say something.

Letters used in shapes: B texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

_CONTINUED = "##"  # how WordPiece marks a piece that continues a word

# English words that say nothing of an image, and those that stand in almost every report.
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

# A sentence with one of these words says what is not there (after NegEx, Chapman et al. 2001).
_DENIALS = ("no", "not", "without", "neither", "nor", "negative")
_ENDS = (".", ";", "!", "?")


@dataclass(frozen=True)
class Word:
    """One word as the tokenizer writes it, and the columns of its pieces in the tokens."""

    text: str
    places: tuple[int, ...]


def inner_words(mask: Tensor) -> Tensor:
    """Words proper (B, L) bool: a text's tokens without [CLS], [SEP] and padding.

    Args:
        mask: (B, L) bool, true on tokens, which padding follows.
    """
    inner = mask.clone()
    inner[:, 0] = False
    # [SEP] is each row's last token; a row without any token has none, and is false already.
    last = (mask.sum(1, keepdim=True) - 1).clamp_min(0)
    return inner.scatter(1, last, False)


def words_of(ids: Tensor, mask: Tensor, tokenizer: Tokenizer) -> list[Word]:
    """The words of one text, [CLS], [SEP] and padding left out.

    Args:
        ids: (L,) token ids.
        mask: (L,) bool, true on tokens.
        tokenizer: A WordPiece one, whose continued pieces begin with ``##``.
    """
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
    """Those made of letters alone that are no stop words; numbers and punctuation fall away."""
    return [word for word in words if word.text.isalpha() and word.text.lower() not in STOP_WORDS]


def informative(words: Sequence[Word], max_words: int) -> list[Word]:
    """At most ``max_words`` of the longest different words, in the order of the text.

    Long words are the terms of the trade; of equally long ones the earlier are taken.
    """
    first: dict[str, Word] = {}
    for word in proper(words):
        first.setdefault(word.text.lower(), word)
    longest = sorted(first.values(), key=lambda word: -len(word.text))[:max_words]
    return sorted(longest, key=lambda word: word.places)


def denial_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids of the tokens that end a sentence, and of the words, in any case, that deny."""
    spelled = [spell for word in _DENIALS for spell in (word, word.capitalize(), word.upper())]
    found = ([tokenizer.token_to_id(token) for token in tokens] for tokens in (_ENDS, spelled))
    ends, denials = ([number for number in ids if number is not None] for ids in found)
    return ends, denials


def affirmed(ids: Tensor, ends: Sequence[int], denials: Sequence[int]) -> Tensor:
    """Tokens (B, L) bool of sentences without a denial: "No mass." names what is not shown.

    Args:
        ids: (B, L) token ids.
        ends: See :func:`denial_ids`.
        denials: See :func:`denial_ids`.
    """
    device = ids.device
    ended = torch.isin(ids, torch.tensor(ends, device=device, dtype=ids.dtype))
    sentence = ended.cumsum(1) - ended.long()  # the end belongs to its sentence
    denial = torch.isin(ids, torch.tensor(denials, device=device, dtype=ids.dtype)).long()
    counts = torch.zeros_like(ids).scatter_add(1, sentence, denial)
    return counts.gather(1, sentence) == 0
