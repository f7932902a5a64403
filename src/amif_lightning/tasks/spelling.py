"""How a generated answer is written: decoding puts blanks around signs that were not there."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from amif_lightning.batch import AnswerSpace


class Spelling:
    """Gives generated tokens the spelling of a known answer of the same tokens, else their own.

    ``mr/t2`` is read as three tokens and decoded as ``mr / t2``. So answers are compared as tokens,
    after one pass through text, because a beam may also write a word in other pieces.

    Args:
        space: The tokenizer and the candidates.
    """

    def __init__(self, space: AnswerSpace) -> None:
        self._fast = Tokenizer.from_str(space.tokenizer)
        self._fast.no_padding()
        self._fast.no_truncation()
        # A text that spells a special, such as "[SEP]", is text.
        self._fast.encode_special_tokens = True
        self._candidates: dict[tuple[int, ...], str] = {}
        for text, ids in zip(space.candidates, space.candidate_ids, strict=True):
            self._candidates.setdefault(tuple(ids), text)  # the first, as in ranking

    def of(self, ids: Sequence[int], references: Sequence[str] = ()) -> str:
        """The text of generated tokens.

        Args:
            ids: Token ids without beginning and end.
            references: Answers that count as right; one of equal tokens gives its spelling.
        """
        tokens = tuple(ids)
        text = str(self._fast.decode(list(ids), skip_special_tokens=True))
        written = self._pieces(text)
        # A cut candidate, or one with an unknown sign, is itself: its text loses the unknown sign,
        # and would be right where the text without that sign is.
        if tokens != written and tokens in self._candidates:
            return self._candidates[tokens]
        if written:
            for reference in references:
                if self._pieces(reference) == written:
                    return reference
        return self._candidates.get(written, text)

    def _pieces(self, text: str) -> tuple[int, ...]:
        return tuple(self._fast.encode(text, add_special_tokens=False).ids)
