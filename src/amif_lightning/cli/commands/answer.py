"""``answer``: rank the answers of a checkpoint to questions about images."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from amif_lightning.cli.commands.model_source import add_source, load_source, named_source
from amif_lightning.cli.commands.plain_parser import PlainParser
from amif_lightning.cli.config_files import fault
from amif_lightning.data.files.atomic import replacing
from amif_lightning.data.files.tables import TableFile, read_json_lines
from amif_lightning.errors import UserError, printable

if TYPE_CHECKING:
    from amif_lightning.answer_space import AnswerSpace
    from amif_lightning.tasks.answering.single_question import Answered
    from amif_lightning.tasks.vqa import AMiFVQA

NOTICE = "Research software: not for clinical use."
_EXAMPLE = '{"image": "a.png", "question": "..."}, with optional "frame" and "id"'


def _path(image: Any) -> str:
    # Not a pydantic str, which refuses file names with bytes of other encodings.
    if not isinstance(image, str) or not image or "\0" in image:
        raise ValueError("not the path of an image")
    return image


class AskedFile(BaseModel, extra="forbid", strict=True):
    """A question about an image file, as on a line of a questions file."""

    image: Annotated[Any, AfterValidator(_path)]
    question: str = Field(pattern=r"\S")
    frame: int | None = None  # of a multi-frame DICOM file
    id: str | int | float | None = None  # the user's name of the pair


def answer_parser() -> PlainParser:
    """Build the parser of ``answer``."""
    parser = PlainParser(
        "answer",
        "Ask a trained checkpoint about an image (PNG, JPEG, TIFF or DICOM), a folder "
        "of images, or a file of pairs. Exit code 1: some pairs could not be answered. " + NOTICE,
    )
    add_source(parser)
    add = parser.add_argument
    add("--image", type=Path, metavar="PATH", help="an image, or a folder with all below it")
    add(
        "--question",
        action="append",
        default=[],
        metavar="TEXT",
        help="asked about every image; may be given several times",
    )
    add(
        "--questions",
        type=Path,
        metavar="FILE.jsonl",
        help='instead of --image and --question: lines such as {"image": "a.png", "question": '
        '"..."}, images relative to the file; "id" and "frame" are optional',
    )
    add("--top", type=int, default=5, metavar="K", help="answers per question (default: 5)")
    add("--json", action="store_true", help="print one JSON object per line, no tables")
    add(
        "--explain",
        type=Path,
        metavar="FILE.png",
        help="draw the transport plan of a single question's words on its image",
    )
    add("--frame", type=int, metavar="K", help="frame of a multi-frame DICOM file, from 0")
    add("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda:1 ...")
    add("--batch_size", type=int, default=16, help="questions in one pass (default: 16)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command with the options after ``answer``; return 1 if some of several pairs failed.

    Raises:
        UserError: If an option is wrong, the checkpoint is unusable, or a single pair fails.
    """
    options = answer_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may contain bytes that are not text, which must not raise. JSON is always
        # UTF-8, and such a byte written as \udcXX is valid in it.
        encoding = "utf-8" if options.json else None
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    named = named_source(options)
    pairs = _pairs(options)
    if options.explain is not None:
        if len(pairs) != 1:
            raise UserError(f"--explain draws one question, but {len(pairs)} are asked: give one.")
        if options.explain.suffix.lower() != ".png":
            raise UserError(f"{options.explain}: the drawing is a PNG file; end its name in .png.")
    for name, number in (("top", options.top), ("batch_size", options.batch_size)):
        if number < 1:
            raise UserError(f"--{name} is {number}: give at least 1.")
    from amif_lightning.tasks.checkpoints import by_dataset  # after the quick checks

    task = load_source(options)
    assert task.space is not None  # `load_source` requires candidates
    origin = {"checkpoint": named, "protocol": _protocol(task.space)}
    failed = 0
    for pair, outcome in _outcomes(task, pairs, options):
        failed += isinstance(outcome, UserError)
        text = _json_line(pair, outcome, origin) if options.json else _table(pair, outcome)
        print(text, flush=True)
        if options.explain is not None and not isinstance(outcome, UserError):
            _explain(task, pair, outcome, options.explain)
    names = " and ".join(by_dataset(task.space.selection))
    trained = f"protocol {origin['protocol']}" + (f", trained on {names}" if names else "")
    print(
        f"{len(task.space.candidates)} candidate answers, {trained}. {NOTICE}",
        file=sys.stderr if options.json else sys.stdout,
    )
    if failed:
        print(f"{failed} of {len(pairs)} questions could not be answered.", file=sys.stderr)
    return int(failed > 0)


def _pairs(options: argparse.Namespace) -> list[AskedFile]:
    """List images and questions from the options, before anything slow is imported."""
    if options.questions is not None:
        if options.image is not None or options.question or options.frame is not None:
            raise UserError("--questions holds them: leave out --image, --question and --frame.")
        return read_questions(options.questions)
    if options.image is None or not options.question:
        raise UserError("give --image and --question, or --questions FILE.jsonl.")
    if not all(question.strip() for question in options.question):
        raise UserError("--question is empty: write it in words.")
    if not os.path.exists(options.image):
        raise UserError(f"The image {options.image} does not exist or cannot be read: check it.")
    images = [options.image]
    if os.path.isdir(options.image):
        from amif_lightning.data.preprocessing.image_files import images_in  # knows the formats

        images, others = images_in(options.image)
        if not images:
            raise UserError(f"{options.image} holds no image: give a folder of PNG, JPEG, ...")
        if others:
            print(f"{options.image}: skipped {others} files that are not images", file=sys.stderr)
    return [
        AskedFile.model_construct(image=str(image), question=question, frame=options.frame)
        for image in images
        for question in options.question
    ]


def read_questions(path: Path) -> list[AskedFile]:
    """Read a file with one JSON object a line; images are relative to its folder.

    Raises:
        UserError: If a line is no such object; the message names it.
    """
    source = TableFile(path, "answer", f"give a file with lines such as {_EXAMPLE}")
    pairs = []
    for number, fields in read_json_lines(source, None):
        try:
            pair = AskedFile.model_validate(fields)
        except ValidationError as error:
            raise source.error(f"cannot be read (line {number}: {fault(error)})") from error
        pairs.append(pair.model_copy(update={"image": str(path.parent / pair.image)}))
    if not pairs:
        raise source.error("holds no question")
    return pairs


def _outcomes(
    task: AMiFVQA, pairs: Sequence[AskedFile], options: argparse.Namespace
) -> Iterator[tuple[AskedFile, Answered | UserError]]:
    """Yield the answers to each pair, or its error; the error of a single pair is raised."""
    from tqdm import tqdm

    from amif_lightning.tasks.answering.single_question import Asked, ask

    def answers(some: Sequence[AskedFile]) -> list[Answered]:
        return ask(task, [Asked(p.image, p.question, p.frame) for p in some], options.top)

    batches = range(0, len(pairs), options.batch_size)
    hidden = len(batches) < 2 or not sys.stderr.isatty() or sys.stdout.isatty()
    for start in tqdm(batches, desc="answer", unit="batch", disable=hidden):
        batch = pairs[start : start + options.batch_size]
        try:
            yield from zip(batch, answers(batch), strict=True)
            continue
        except UserError:
            if len(pairs) == 1:
                raise
        for pair in batch:  # one by one: the others can be answered
            try:
                yield pair, answers([pair])[0]
            except UserError as error:
                yield pair, error


def _json_line(pair: AskedFile, outcome: Answered | UserError, origin: dict[str, str]) -> str:
    fields = pair.model_dump(exclude_none=True)
    if "id" in fields:
        fields["id"] = str(fields["id"])
    if isinstance(outcome, UserError):
        return printable(json.dumps(fields | {"error": str(outcome)}, ensure_ascii=False))
    fields["answers"] = [one._asdict() for one in outcome.answers]
    fields |= {"cut_tokens": outcome.cut, "unknown_words": outcome.unknown}
    fields["warnings"] = outcome.warnings
    return printable(json.dumps(fields | origin, ensure_ascii=False))


def _table(pair: AskedFile, outcome: Answered | UserError) -> str:
    frame = "" if pair.frame is None else f", frame {pair.frame}"
    head = printable(f"{pair.image}{frame}: {pair.question}")
    if isinstance(outcome, UserError):
        return f"{head}\n  not answered: {printable(str(outcome))}\n"
    rest = 1.0 - sum(one.probability for one in outcome.answers)
    rows = [(f"{i:>2}", printable(a), p) for i, (a, p) in enumerate(outcome.answers, start=1)]
    rows.append((" -", "(anything else)", max(rest, 0.0)))
    width = max(len(text) for _, text, _ in rows)
    lines = [f"  {place}  {text:<{width}}  {100 * share:5.1f} %" for place, text, share in rows]
    if outcome.cut:
        lines.append(f"  note: the last {outcome.cut} tokens of the question were not read")
    if outcome.unknown:
        lines.append(f"  note: {outcome.unknown} words of the question are unknown")
    doubts = [f"  warning: {printable(sentence)}" for sentence in outcome.warnings]
    return "\n".join([head, *doubts, *lines, ""])


def _explain(task: AMiFVQA, pair: AskedFile, outcome: Answered, path: Path) -> None:
    from amif_lightning.inference.explain import explain
    from amif_lightning.tasks.answering.single_question import Asked

    figure = explain(task, Asked(pair.image, pair.question, pair.frame), outcome)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    print(f"Drawing written to {path}.", file=sys.stderr)


def _protocol(space: AnswerSpace) -> str:
    from amif_lightning.data.schema.question_splits import protocol_label

    scored = str(space.selection.get("test_split", "test"))  # a mixture has one for each part
    known = space.answers_from  # empty in older checkpoints
    return protocol_label(space.protocol, scored, known) if known else space.protocol
