"""What a record of scored questions must say apart from the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from amif_lightning.data.schema import answers, baselines
from amif_lightning.data.schema.image_overlap import overlap
from amif_lightning.data.schema.question_splits import Splits
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.data.schema.subsets import subsets_of, tally
from amif_lightning.evaluation import EvaluationContext


def evaluation_context(
    parts: Splits, file_of: Callable[[VQAExample], str], warnings: Sequence[str] = ()
) -> EvaluationContext:
    """Count baselines, ceiling and warnings of the tested questions.

    Args:
        parts: The release under its protocol; its ``test`` rows are the questions.
        file_of: Where the image of a row lies, as records name it.
        warnings: What the record repeats.

    Returns:
        The facts.
    """
    rows, train = parts.test, parts.released_train
    majority = baselines.majority_answer(train)
    guesses = {
        "question_only": baselines.question_only(train, rows),
        "same_image_copy": baselines.same_image_copy(train, rows),
        "majority": [majority] * len(rows),
    }
    right = {
        name: [answers.is_correct(guess, row) for guess, row in zip(made, rows, strict=True)]
        for name, made in guesses.items()
    }

    return EvaluationContext(
        dataset=parts.dataset,
        layout=parts.layout,
        protocol=parts.protocol,
        split=parts.test_split,
        candidates=len(parts.candidates),
        ceiling=tally(rows, baselines.ceiling(parts.candidates, rows)),
        baselines={name: tally(rows, correct) for name, correct in right.items()},
        majority=majority,
        answers_from=parts.answers_from,
        baseline_correct={
            row.question_id: ok for row, ok in zip(rows, right["question_only"], strict=True)
        },
        rows={
            row.question_id: asdict(row)
            | {"strata": list(subsets_of(row)), "image_file": file_of(row)}
            for row in rows
        },
        warnings=tuple(warnings),
    )


def shared_image_warnings(parts: Splits) -> tuple[str, ...]:
    """Say how many tested images the released training split shows as well.

    Args:
        parts: The release under its protocol.

    Returns:
        One sentence, or none where no image is shared.
    """
    found = overlap("released train", parts.released_train, "test", parts.test)
    if not found.shared:
        return ()
    return (
        f"{found.shared} of {found.images_of_second} {parts.test_split} images are also in the "
        "released training split",
    )
