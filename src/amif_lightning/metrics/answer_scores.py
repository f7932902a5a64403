"""Scores of answers besides exact match, all computed by torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchmetrics.functional.classification import binary_calibration_error
from torchmetrics.functional.text import bleu_score, rouge_score

from amif_lightning.evaluation import CALIBRATION_BINS


def word_overlap(answer: str, references: Sequence[str]) -> dict[str, float]:
    """Compare the words of a normalised answer with those of its normalised references.

    Each score is 0 to 1. With several references, ``bleu_1`` counts a word of any of them, and the
    others take the reference with the highest F1. A Chinese text is one word.

    Returns:
        ``token_f1``: F1 of the words that both have (ROUGE-1; SQuAD's F1, which also deletes
        articles); ``token_recall``: share of the reference's words; ``bleu_1``: share of the
        answer's words times BLEU's brevity penalty, without smoothing; ``rouge_l``: F1 of the
        longest common subsequence.
    """
    rouge = rouge_score(
        [answer],
        [references],
        accumulate="best",
        # The words of a normalised text are separated by spaces; torchmetrics' own rule deletes all
        # letters other than a to z.
        normalizer=str,
        tokenizer=str.split,
        rouge_keys=("rouge1", "rougeL"),
    )
    scores = {
        "token_f1": rouge["rouge1_fmeasure"],
        "token_recall": rouge["rouge1_recall"],
        "bleu_1": bleu_score([answer], [references], n_gram=1),
        "rouge_l": rouge["rougeL_fmeasure"],
    }
    return {name: float(score) for name, score in scores.items()}


def calibration_error(probabilities: Sequence[float], correct: Sequence[bool]) -> float:
    """Expected calibration error of answers' probabilities, 0 to 1.

    The mean distance of probability and share of correct answers over bins of equal width, weighted
    by their numbers of answers (Guo et al. 2017, equation 3).
    """
    given = torch.tensor(probabilities, dtype=torch.float64)
    error = binary_calibration_error(given, torch.tensor(correct).long(), CALIBRATION_BINS, "l1")
    return float(error)
