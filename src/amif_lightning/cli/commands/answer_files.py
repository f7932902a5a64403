"""Read the answers of any model from its result file, and match them to the scored questions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from amif_lightning.cli.config_files import fault
from amif_lightning.data.files.names import is_text
from amif_lightning.data.files.tables import TableFile, read_json_lines
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.errors import UserError
from amif_lightning.evaluation import EvaluationContext

Shown = Literal["own", "shuffled", "blank"]


def _text(value: Any) -> str:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or not is_text(value):
        raise ValueError("it must be a text")
    return value


class Given(BaseModel, strict=True, allow_inf_nan=False):
    """One answer, with what its layout has besides it; texts are as written."""

    asked: str | int | None = None  # id, or position in the released split; None: that of the entry
    answer: Annotated[str, BeforeValidator(_text)]
    question: str | None = None
    reference: str | None = None
    log_likelihood: Annotated[float, Field(le=0)] | None = None
    images: Shown | None = None  # the images that were shown


class Layout(NamedTuple):
    """The keys of a file by field of `Given`, and the other keys; None: any others."""

    name: str
    keys: Mapping[str, str]
    optional: frozenset[str] | None = None
    positions: bool = False  # whether questions are numbered as in the released split

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Return whether an entry has this layout."""
        needed = set(self.keys.values())
        others = entry.keys() - needed
        return needed <= entry.keys() and (self.optional is None or others <= self.optional)


LAYOUTS = (
    # `predict` writes it, and `export-questions` all but the answer.
    Layout(
        "question_id, answer",
        {"asked": "question_id", "answer": "answer"},
        frozenset({"question", "image", "images", "log_likelihood"}),
    ),
    Layout(
        "LLaVA (question_id, text)",
        {"asked": "question_id", "answer": "text"},
        frozenset({"prompt", "answer_id", "model_id", "metadata"}),
    ),
    Layout(
        "lmms-eval samples (doc_id, filtered_resps, target)",
        {"asked": "doc_id", "answer": "filtered_resps", "reference": "target"},
        positions=True,
    ),
    Layout(
        "MedEvalKit results (question, answer, response)",
        {"question": "question", "reference": "answer", "answer": "response"},
        positions=True,
    ),
)
_OPTIONAL = ("question", "log_likelihood", "images")


class AnswerFile:
    """The answers of a file in one of the `LAYOUTS`.

    Raises:
        UserError: If the file cannot be read, or has another layout; the first wrong entry is
            named.
    """

    def __init__(self, path: Path) -> None:
        self.source = TableFile(path, "score", "give one answer to each question of the split")
        entries = list(self._entries())
        if not entries:
            raise self.source.error("holds no answer")
        place, first = entries[0]
        known = [layout for layout in LAYOUTS if layout.fits(first)]
        if not known:
            names = "; ".join(layout.name for layout in LAYOUTS)
            keys = ", ".join(map(str, first))[:200]
            raise self.source.error(
                f"has none of the known layouts, {names} ({place} has the keys {keys})"
            )
        self.layout = known[0]
        self.given = [(place, self._given(place, entry)) for place, entry in entries]

    def _entries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.source.path.suffix != ".json":
            for number, entry in read_json_lines(self.source, None):
                yield f"line {number}", entry
            return
        try:
            with self.source.open() as stream:
                found = json.load(stream)
        except (ValueError, RecursionError) as error:
            raise self.source.error("is not valid JSON") from error
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.source.error("is not a list of answers")
        yield from ((f"entry {number}", one) for number, one in enumerate(found, start=1))

    def _given(self, place: str, entry: Mapping[str, Any]) -> Given:
        missing = next((key for key in self.layout.keys.values() if key not in entry), None)
        if missing is not None:
            raise self.source.error(f"has no {missing} ({place})")
        optional = {name: entry[name] for name in _OPTIONAL if name in entry}
        fields = {name: entry[key] for name, key in self.layout.keys.items()}
        try:
            return Given.model_validate(optional | fields)
        except ValidationError as error:
            name, _, what = fault(error).partition(": ")
            name = name.partition(".")[0]
            key = self.layout.keys.get(name, name)
            raise self.source.error(f"cannot be read ({place}, {key}: {what})") from error

    def match(
        self, facts: EvaluationContext, dropped: Mapping[str, str], images: Shown
    ) -> tuple[dict[str, Given], list[str]]:
        """Return the answer to each scored question by id, and sentences on all others.

        ``dropped`` are the reasons of questions that the data set does not use, by id. ``images``
        are those that the model was shown.

        Raises:
            UserError: If a question has no answer or two, an answer belongs to no question of the
                split, or the file's question or reference is another one.
        """
        known = facts.rows.keys() | dropped.keys()
        numbered = sorted([*facts.rows, *dropped], key=_number)
        places: dict[str, str] = {}
        found: dict[str, Given] = {}
        left_out: Counter[str] = Counter()
        for position, (place, given) in enumerate(self.given):
            if given.images not in (None, images):
                raise self.source.error(f"answers questions with {given.images} images ({place})")
            question = self._id(given, position, numbered, known, place, facts)
            if question in places:
                what = f"answers '{question}' twice ({places[question]} and {place})"
                raise self.source.error(what)
            places[question] = place
            if question in facts.rows:
                self._check(given, question, facts.rows[question], place)
                found[question] = given
            else:
                left_out[dropped[question]] += 1
        if missing := [question for question in facts.rows if question not in found]:
            count = f"{len(missing)} of {len(facts.rows)} questions"
            raise self.source.error(f"lacks the answers to {count} (first: '{missing[0]}')")
        unknown = [question for question, given in found.items() if given.log_likelihood is None]
        if unknown and len(unknown) < len(found):
            place = places[unknown[0]]
            raise self.source.error(f"has a log_likelihood for some answers only (not {place})")
        empty = sum(not normalise(given.answer) for given in found.values())
        sentences = [f"{n} answers are not scored: {why}" for why, n in left_out.items()]
        return found, sentences + ([f"{empty} answers are empty"] if empty else [])

    def _id(
        self,
        given: Given,
        position: int,
        numbered: list[str],
        known: Set[str],
        place: str,
        facts: EvaluationContext,
    ) -> str:
        asked = position if given.asked is None else given.asked
        scored = f"{facts.split} questions of {facts.dataset}, layout {facts.layout}"
        if self.layout.positions:
            if not isinstance(asked, int) or not 0 <= asked < len(numbered):
                what = f"answers question {asked!r} of the {len(numbered)} {scored} ({place})"
                raise self.source.error(what)
            return numbered[asked]
        if asked not in known:
            what = f"answers {str(asked)!r} ({place}), which is none of the {scored}"
            raise self.source.error(what)
        return str(asked)

    def _check(self, given: Given, question: str, row: Mapping[str, Any], place: str) -> None:
        """Compare the file's question and reference with the data set's."""
        asked, reference = given.question, given.reference
        if asked is not None and normalise(asked) != normalise(row["question"]):
            raise self._another("question", asked, question, row["question"], place)
        own = {*row["references"], normalise(row["answer"])}
        if reference is not None and normalise(reference) not in own:
            raise self._another("reference", reference, question, row["answer"], place)

    def _another(self, kind: str, found: str, question: str, own: str, place: str) -> UserError:
        return self.source.error(
            f"has the {kind} {found[:60]!r} ({place}) where '{question}' has {own[:60]!r}: it is "
            "of another data set, split, layout or order"
        )


def _number(question: str) -> tuple[str, int]:
    """Order ids by their last number: the position in the released file."""
    start, number = re.fullmatch(r"(.*?)(\d*)", question, flags=re.DOTALL).groups()  # type: ignore[union-attr]  # matches any text
    return start, int(number or 0)
