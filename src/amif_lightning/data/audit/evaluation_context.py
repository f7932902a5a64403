"""The parts of a test record that do not depend on the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from amif_lightning.data.schema import answers, baselines
from amif_lightning.data.schema.answers import subsets_of, tally
from amif_lightning.data.schema.question_splits import Splits, overlap
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.evaluation import EvaluationContext


def baselines_correct(
    train: Sequence[VQAExample], rows: Sequence[VQAExample]
) -> dict[str, list[bool]]:
    """Return, for each baseline by name, whether it answers each question correctly."""
    predictions = {
        "question_only": baselines.question_only(train, rows),
        "same_image_copy": baselines.same_image_copy(train, rows),
        "majority": [baselines.majority_answer(train)] * len(rows),
    }
    return {
        name: [answers.is_correct(answer, row) for answer, row in zip(found, rows, strict=True)]
        for name, found in predictions.items()
    }


def evaluation_context(
    parts: Splits, file_of: Callable[[VQAExample], str], warnings: Sequence[str] = ()
) -> EvaluationContext:
    """Count the test questions that baselines and the best candidates answer correctly."""
    rows, train = parts.test, parts.released_train
    correct = baselines_correct(train, rows)
    return EvaluationContext(
        dataset=parts.dataset,
        layout=parts.layout,
        protocol=parts.protocol,
        split=parts.test_split,
        candidates=len(parts.candidates),
        ceiling=tally(rows, baselines.ceiling(parts.candidates, rows)),
        baselines={name: tally(rows, flags) for name, flags in correct.items()},
        majority=baselines.majority_answer(train),
        answers_from=parts.answers_from,
        baseline_correct={
            row.question_id: flag for row, flag in zip(rows, correct["question_only"], strict=True)
        },
        rows={
            row.question_id: asdict(row)
            | {"strata": list(subsets_of(row)), "image_file": file_of(row)}
            for row in rows
        },
        warnings=tuple(warnings),
    )


def shared_image_warnings(parts: Splits) -> tuple[str, ...]:
    """Return a sentence if test images also occur in the released training split, else nothing."""
    found = overlap("released train", parts.released_train, "test", parts.test)
    if not found.shared:
        return ()
    return (
        f"{found.shared} of {found.images_of_second} {parts.test_split} images are also in the "
        "released training split",
    )
