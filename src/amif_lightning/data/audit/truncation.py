"""Count texts truncated by the token limits, and candidates that become equal."""

from __future__ import annotations

from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.schema.question_splits import Splits
from amif_lightning.data.schema.questions import VQAExample


def cut_sentences(
    parts: Splits, tokenizer: Tokenizer, max_question_tokens: int, max_answer_tokens: int
) -> list[str]:
    """Return a sentence for each kind of truncated text, and for candidates that become equal.

    Candidates with equal tokens get equal scores, and ranking answers with the first of them. The
    token limits include [CLS] and [SEP].
    """
    sentences: list[str] = []
    for split in ("train", "validation", "test"):
        rows: tuple[VQAExample, ...] = getattr(parts, split)
        for kind, limit, texts in (
            ("questions", max_question_tokens, [row.question for row in rows]),
            ("answers", max_answer_tokens, [row.references[0] for row in rows]),
        ):
            if cut := sum(not tokenizer.fits(text, limit) for text in texts):
                sentences.append(f"{cut} of {len(texts)} {split} {kind} are cut to {limit} tokens")
    limit = max_answer_tokens
    whole = [tuple(tokenizer.pieces(candidate)) for candidate in parts.candidates]
    short = [ids[: limit - 2] for ids in whole]
    same, equal = len(whole) - len(set(whole)), len(short) - len(set(short))
    if cut := sum(a != b for a, b in zip(whole, short, strict=True)):
        sentences.append(f"{cut} of {len(whole)} candidate answers are cut to {limit} tokens")
    if equal:
        sentences.append(
            f"{equal} of {len(whole)} candidate answers have the tokens of an "
            f"earlier candidate and can never be chosen ({equal - same} of them through "
            f"cutting; raise max_answer_tokens for these)"
        )
    return sentences
