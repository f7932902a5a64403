"""Audit of questions: statistics of a run's splits, and every leak in its training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from amif_lightning.data.audit.findings import Findings, dropped_by_reason, image_check, table
from amif_lightning.data.preprocessing.images import MAX_PIXELS
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.schema import answers, baselines
from amif_lightning.data.schema.answers import Count, answers_of, candidates, subsets_of, tally
from amif_lightning.data.schema.question_splits import (
    EvaluationSplit,
    Overlap,
    Splits,
    images_of,
    overlap,
    patients_of,
    restated,
    restating,
)
from amif_lightning.data.schema.questions import Release, VQAExample
from amif_lightning.evaluation import EvaluationContext


@dataclass(frozen=True)
class SplitAudit:
    """Correct answers of baselines and ceilings in one split, by stratum (see ``subsets_of``)."""

    role: EvaluationSplit
    source: str  # the origin of its rows, such as "held out from train by image"
    rows: int
    unseen: int  # questions without a reference among the training answers
    ceiling_training: dict[str, Count]  # the best choice among training answers
    ceiling_candidates: dict[str, Count]  # the best choice among the protocol's candidates
    question_only: dict[str, Count]
    same_image_copy: dict[str, Count]
    majority: dict[str, Count]


@dataclass(frozen=True)
class SplitSize:
    """The size of a set of rows."""

    rows: int
    images: int
    answers: int  # distinct after normalisation
    unusable: int = 0  # of a released split: no answer, a malformed line; not by an option


@dataclass(frozen=True, kw_only=True)
class Audit(Findings):
    """The findings on questions."""

    kind = "rows"
    sizes: dict[str, SplitSize]
    candidates: int  # number of candidate answers
    majority_answer: str
    splits: dict[str, SplitAudit]  # without absent ones
    overlaps: tuple[Overlap, ...]  # printed as warnings, since releases have overlaps

    def _text(self) -> list[str]:
        rows: list[tuple[str, ...]] = [("", "rows", "images", "answers", "unusable rows")]
        rows += [
            (name, str(size.rows), str(size.images), str(size.answers), str(size.unusable))
            for name, size in self.sizes.items()
        ]
        if not any(size.unusable for size in self.sizes.values()):
            rows = [row[:-1] for row in rows]
        return [
            f"{self.dataset}, layout {self.layout}, protocol: {self.protocol}",
            "",
            *table(rows),
            f"{self.candidates} candidate answers; majority answer '{self.majority_answer}'",
            "",
            *(line for split in self.splits.values() for line in _split_text(split)),
            *(
                f"warning: {o.shared} of {o.images_of_second} {o.second} images also in {o.first}"
                for o in self.overlaps
                if o.shared
            ),
        ]

    def _verdict(self) -> str:
        if self.protocol == "disjoint":
            return "disjoint: no trained row shares an image or patient with validation or test"
        for o in self.overlaps:
            if (o.first, o.second) == ("trained", "test") and o.shared:
                return (
                    "clean (question-level): no trained row restates a held-out question, but "
                    f"{o.shared} of {o.images_of_second} test images are also in the trained rows; "
                    "the protocol 'disjoint' drops the rows about them"
                )
        return super()._verdict()


def audit(
    parts: Splits,
    release: Release,
    file_of: Callable[[VQAExample], Path],
    notes: Sequence[str] = (),
    max_pixels: int | None = MAX_PIXELS,
) -> Audit:
    """Count, compare and judge the splits ``parts`` of a run.

    No training row may restate a held-out split of ``release``, scored or not. ``file_of`` returns
    a row's image file. Images of at most ``max_pixels`` are decoded, at reduced size (None: not at
    all). ``notes`` are printed last.
    """
    sets: dict[str, Sequence[VQAExample]] = {
        "released train": parts.released_train,
        "trained": parts.train,
        "validation": parts.validation,
        "test": parts.test,
    }
    used = (*parts.released_train, *parts.validation, *parts.test)
    roles: tuple[EvaluationSplit, ...] = ("validation", "test")
    unusable = _unusable(parts, release)
    return Audit(
        dataset=parts.dataset,
        layout=parts.layout,
        protocol=parts.label,
        sizes={
            name: SplitSize(len(rows), len(images_of(rows)), len(candidates(rows)), unusable[name])
            for name, rows in sets.items()
            if rows
        },
        candidates=len(parts.candidates),
        majority_answer=baselines.majority_answer(parts.baseline_rows("test")),
        splits={role: _split(parts, role) for role in roles if sets[role]},
        overlaps=_overlaps(sets),
        not_clean=_not_clean(parts, release),
        dropped=dropped_by_reason(parts.dropped),
        images=(
            None
            if max_pixels is None
            else image_check({row.image: file_of(row) for row in used}, max_pixels)
        ),
        absent=dict(parts.absent),
        notes=(*parts.notes, *notes),
    )


def _unusable(parts: Splits, release: Release) -> Counter[str]:
    """Number of unusable rows by the set that they were released in."""
    sets = {"train": "released train", parts.test_split: "test"}
    if not parts.held_out_from_train:
        sets["validation"] = "validation"
    released = (r.question_id.split("/")[1] for r in release.dropped if not r.by_choice)
    return Counter(sets[split] for split in released if split in sets)


def _split(parts: Splits, role: EvaluationSplit) -> SplitAudit:
    rows = parts.validation if role == "validation" else parts.test
    train = parts.baseline_rows(role)
    if role == "validation" and parts.held_out_from_train:
        source = "held out from train by image"
    else:
        source = f"released {parts.test_split if role == 'test' else role} set"
    answerable = baselines.ceiling(candidates(train), rows)
    return SplitAudit(
        role=role,
        source=source,
        rows=len(rows),
        unseen=answerable.count(False),
        ceiling_training=tally(rows, answerable),
        ceiling_candidates=tally(rows, baselines.ceiling(parts.candidates, rows)),
        **{name: tally(rows, flags) for name, flags in baselines_correct(train, rows).items()},
    )


def _overlaps(sets: dict[str, Sequence[VQAExample]]) -> tuple[Overlap, ...]:
    pairs = (
        ("released train", "test"),
        ("trained", "test"),
        ("trained", "validation"),
        ("validation", "test"),
    )
    return tuple(overlap(a, sets[a], b, sets[b]) for a, b in pairs if sets[a] and sets[b])


def _not_clean(parts: Splits, release: Release) -> list[str]:
    known = {row.references[0] for row in parts.released_train}
    found: list[str] = []
    if unknown := [answer for answer in parts.candidates if answer not in known]:
        found.append(
            f"{len(unknown)} of {len(parts.candidates)} candidates are validation or test answers "
            "that no training row gives"
        )
    words = {word for answer in known for word in answer.split()}
    source = {w for row in parts.answer_rows for a in answers_of(row) for w in a.split()}
    if source - words:
        found.append(f"{len(source - words)} vocabulary words occur in no training answer")
    held_out: dict[str, Sequence[VQAExample]] = {
        "validation": parts.validation,
        parts.test_split if parts.test_split == "test" else "scored validation": parts.test,
    }
    # Also splits that are not scored here: the released test set if validation is scored, and the
    # test sets of a mixture's parts.
    if not held_out.get("test"):
        held_out["test"] = release.splits.get("test", ())
    held_out["released validation"] = release.splits.get("validation", ())
    for name, rows in held_out.items():
        if leaky := restating(parts.train, rows):
            given = len(restated(parts.train, rows))
            found.append(
                f"{len(leaky)} trained rows equal a {name} question or its released rephrase or "
                f"frame (same image, normalised wording), which gives {given} of {len(rows)} "
                f"{name} questions away with their answer"
            )
        if parts.protocol == "disjoint":
            keys, patients = images_of(rows), patients_of(rows)
            sharing = [r for r in parts.train if r.image_key in keys or r.group in patients]
            if sharing:
                found.append(
                    f"{len(sharing)} trained rows share an image or a patient with {name} questions"
                )
    if shared := images_of(parts.train) & images_of(parts.validation):
        found.append(f"{len(shared)} validation images are in the trained rows")
    return found


def _split_text(split: SplitAudit) -> list[str]:
    columns = {
        "question-only": split.question_only,
        "same-image copy": split.same_image_copy,
        "majority": split.majority,
        "ceiling, training": split.ceiling_training,
        "ceiling, candidates": split.ceiling_candidates,
    }
    lines = [(f"{split.role} ({split.source})", *columns)]
    for name in split.question_only:
        lines.append((name, *(str(counts[name]) for counts in columns.values())))
    return [
        *table(lines),
        f"{split.unseen} of {split.rows} answers are given by no training row"
        + (" on other images" if split.source.startswith("held out") else ""),
        "",
    ]


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
    """Count the test questions that baselines and the best candidates answer correctly.

    Questions without answers, which have no training rows, have no baselines.
    """
    rows, train = parts.test, parts.baseline_rows("test")
    correct = baselines_correct(train, rows) if train else {}
    alone = correct.get("question_only", [False] * len(rows))
    others = {"train", "validation", "test"} - {parts.test_split}
    return EvaluationContext(
        dataset=parts.dataset,
        layout=parts.layout,
        protocol=parts.protocol,
        split=parts.test_split,
        candidates=len(parts.candidates),
        ceiling=tally(rows, baselines.ceiling(parts.candidates, rows)),
        baselines={name: tally(rows, flags) for name, flags in correct.items()},
        majority=baselines.majority_answer(train) if train else "",
        answers_from=parts.answers_from,
        baseline_correct={row.question_id: ok for row, ok in zip(rows, alone, strict=True)},
        rows={
            row.question_id: asdict(row)
            | {"strata": list(subsets_of(row)), "image_file": file_of(row)}
            for row in rows
        },
        warnings=tuple(warnings),
        unasked={
            row.question_id: f"{row.reason} ({row.detail})" if row.detail else row.reason
            for row in parts.dropped
            if not row.by_choice and row.question_id.split("/")[1] not in others
        },
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
