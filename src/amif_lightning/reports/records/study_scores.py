"""The lines of a scored search: one JSON line per study, beside the record of the same split."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.errors import UserError
from amif_lightning.reports.records.fields import Fields, json_lines
from amif_lightning.reports.records.pairs import PairLine, check_negatives, parse_pairs
from amif_lightning.reports.records.run import Score

Direction = Literal["image_to_text", "text_to_image"]
DIRECTIONS: tuple[Direction, ...] = ("image_to_text", "text_to_image")
Measure = Literal["precision", "recall"]
MEASURES: tuple[Measure, ...] = ("precision", "recall")
# The number of nearest studies that reports judge by (paper, retrieval on CheXpert 5x200).
JUDGED = 5


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of one direction by k, the number of nearest studies that are looked at.

    Attributes:
        precision: Share of relevant studies among the k nearest (0 to 1).
        recall: Whether the own study is among them, or the share of studies where it is (0 to 1).
    """

    precision: dict[int, float]
    recall: dict[int, float]

    @property
    def ks(self) -> tuple[int, ...]:
        """The numbers k, rising."""
        return tuple(self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """What one study reached.

    Attributes:
        study_id: Id of the study, unique in the file.
        group: What the study stays together with, its patient; intervals draw groups.
        relevant: How many studies of the split are relevant to it, itself included.
        image_to_text: The search of its report from its image; recall is 0 or 1.
        text_to_image: The search of its image from its report; recall is 0 or 1.
        zero_shot: Whether its image's class was found; None where the data has no classes.
        pairs: What its single pairs scored; None where the task scores none, and in files from
            before they were kept.
    """

    study_id: str
    group: str
    relevant: int
    image_to_text: Ranking
    text_to_image: Ranking
    zero_shot: bool | None
    pairs: PairLine | None = None

    def mean(self, measure: Measure, k: int) -> float:
        """A score averaged over both directions."""
        return math.fsum(getattr(getattr(self, way), measure)[k] for way in DIRECTIONS) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Averages:
    """What the lines of a split come to.

    Attributes:
        image_to_text: Means over the studies.
        text_to_image: Means over the studies.
        mean: Means of both directions.
        chance: What a random order reaches on average: the mean share of relevant studies, and
            min(k, N) / N for the own one, with N studies.
        ceiling: Highest precision that any order reaches, by k: the mean of
            min(relevant, k) / min(k, N).
        zero_shot: Studies whose class was found; None where the data has no classes.
    """

    image_to_text: Ranking
    text_to_image: Ranking
    mean: Ranking
    chance: Ranking
    ceiling: dict[int, float]
    zero_shot: Score | None


def averages(lines: Sequence[StudyLine]) -> Averages:
    """The numbers of a record from at least one line."""
    count = len(lines)
    ks = lines[0].image_to_text.ks

    def ranking(value: Callable[[StudyLine, Measure, int], float]) -> Ranking:
        means: dict[Measure, dict[int, float]] = {
            measure: {k: math.fsum(value(line, measure, k) for line in lines) / count for k in ks}
            for measure in MEASURES
        }
        return Ranking(means["precision"], means["recall"])

    chance = math.fsum(line.relevant / count for line in lines) / count
    found = [line.zero_shot for line in lines if line.zero_shot is not None]
    return Averages(
        image_to_text=ranking(lambda line, measure, k: getattr(line.image_to_text, measure)[k]),
        text_to_image=ranking(lambda line, measure, k: getattr(line.text_to_image, measure)[k]),
        mean=ranking(StudyLine.mean),
        chance=Ranking(dict.fromkeys(ks, chance), {k: min(k, count) / count for k in ks}),
        ceiling={
            k: math.fsum(min(line.relevant, k) / min(k, count) for line in lines) / count
            for k in ks
        },
        zero_shot=Score(sum(found), len(found)) if found else None,
    )


def studies_path(folder: str | PathLike[str], split: str) -> Path:
    """``studies-<split>.jsonl`` inside a run folder."""
    return Path(folder) / f"studies-{split}.jsonl"


def write_studies(path: str | PathLike[str], lines: Iterable[StudyLine]) -> None:
    """Check and write all lines atomically, in the order given.

    Raises:
        UserError: If a line breaks a rule of `read_studies` or the file cannot be written.
    """
    path = Path(path)
    text = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines)
    _parse(text, path)
    write_atomically(path, text)


def read_studies(path: str | PathLike[str]) -> tuple[StudyLine, ...]:
    """Read and check the lines of a split.

    Raises:
        UserError: Naming the file, the line and the field that is missing, mistyped, repeated, or
            impossible in a split of as many studies; a negative must be another study of the file.
    """
    path = Path(path)
    return _parse(read_text(path), path)


def _parse(text: str, path: Path) -> tuple[StudyLine, ...]:
    lines: list[StudyLine] = []
    seen: set[str] = set()
    count = text.count("\n")
    read = list(json_lines(text, path))
    for fields in read:
        line = _line(fields, count)
        if line.study_id in seen:
            fields.field_fails("study_id", f"'{line.study_id}' occurs twice")
        seen.add(line.study_id)
        if lines and (line.zero_shot is None) != (lines[0].zero_shot is None):
            fields.field_fails("zero_shot", "is null on some lines only")
        if lines and line.image_to_text.ks != lines[0].image_to_text.ks:
            fields.field_fails("image_to_text.precision", "has other numbers k than the first line")
        lines.append(line)
    if not lines:
        raise UserError(f"{path} holds no study: test the checkpoint again.")
    check_negatives([line.pairs for line in lines], [line.study_id for line in lines], read)
    return tuple(lines)


def _line(fields: Fields, count: int) -> StudyLine:
    line = StudyLine(
        study_id=fields.text("study_id"),
        group=fields.text("group"),
        relevant=fields.integer("relevant", minimum=1),
        image_to_text=ranking_of(fields.inside("image_to_text")),
        text_to_image=ranking_of(fields.inside("text_to_image")),
        zero_shot=fields.optional_flag("zero_shot"),
        pairs=parse_pairs(
            fields.value("pairs") if "pairs" in fields.remaining() else None, fields.where
        ),
    )
    fields.finish()
    if line.relevant > count:
        fields.field_fails("relevant", f"is {line.relevant}, but the file holds {count} studies")
    if line.text_to_image.ks != line.image_to_text.ks:
        fields.field_fails("text_to_image.precision", "has other numbers k than 'image_to_text'")
    for way in DIRECTIONS:
        ranking: Ranking = getattr(line, way)
        for k in ranking.ks:
            _check_possible(fields, f"{way}.", ranking, k, line.relevant, count)
    return line


def _check_possible(
    fields: Fields, prefix: str, ranking: Ranking, k: int, relevant: int, count: int
) -> None:
    """Raise unless precision and recall at k can come from one order of the studies."""
    hits, own = ranking.precision[k] * min(k, count), ranking.recall[k]
    if abs(hits - round(hits)) > 1e-6 or round(hits) > relevant:
        fields.field_fails(
            f"{prefix}precision.{k}",
            f"must be the share of at most {relevant} relevant ones among {min(k, count)} studies, "
            f"found {ranking.precision[k]}",
        )
    # The own study is relevant to itself: found, it is one of the hits.
    if own not in (0, 1) or own > round(hits):
        fields.field_fails(
            f"{prefix}recall.{k}", f"must be 0 or 1, and 0 without a hit, found {own}"
        )


def ranking_of(fields: Fields) -> Ranking:
    """The object ``{precision: {k: share}, recall: {k: share}}`` and nothing else.

    Raises:
        UserError: If a share is not from 0 to 1, recall falls with k, the k are not rising whole
            numbers, the same in both, or `JUDGED` is not among them.
    """
    precision, recall = (shares_of(fields.inside(measure)) for measure in MEASURES)
    fields.finish()
    if tuple(precision) != tuple(recall):
        fields.field_fails("recall", "must have the numbers k of 'precision'")
    values = list(recall.values())
    if values != sorted(values):
        fields.field_fails("recall", "must not fall with k")
    return Ranking(precision, recall)


def shares_of(fields: Fields) -> dict[int, float]:
    """The object ``{k: share}`` with rising whole numbers k, `JUDGED` among them."""
    names = fields.remaining()
    ks = [int(name) for name in names if name.isascii() and name.isdigit()]
    if [str(k) for k in ks] != names or ks != sorted(set(ks)) or ks[:1] == [0] or JUDGED not in ks:
        fields.fail(
            f"field '{fields.prefix[:-1]}'",
            f"must have rising whole numbers as names, {JUDGED} among them, found {names}",
        )
    return {k: fields.share(str(k)) for k in ks}


def differs(one: Mapping[int, float], other: Mapping[int, float]) -> bool:
    """Whether two sets of shares by k differ by more than rounding."""
    return one.keys() != other.keys() or any(abs(one[k] - other[k]) > 1e-9 for k in one)
