"""``answer``: a checkpoint, images and questions in; ranked answers out."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from amif_lightning.cli.config_files import fault
from amif_lightning.errors import UserError

if TYPE_CHECKING:
    from amif_lightning.tasks.answering.single_question import Answered
    from amif_lightning.tasks.vqa import AMiFVQA

NOTICE = "Research software: not for clinical use."


@dataclass(frozen=True)
class AskedFile:
    """A question about an image file, as asked.

    Attributes:
        image: The file.
        question: The question.
        frame: Frame of a DICOM file with several.
        name: What a line of a questions file calls the pair; None where it says nothing.
    """

    image: Path
    question: str
    frame: int | None = None
    name: str | None = None


def answer_parser() -> argparse.ArgumentParser:
    """The parser of ``answer``."""
    parser = argparse.ArgumentParser(
        prog="python -m amif_lightning answer",
        description="Ask a trained checkpoint about an image (PNG, JPEG, TIFF or DICOM), a folder "
        "of images, or a file of pairs. Exit code 1: some pairs could not be answered. " + NOTICE,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--ckpt_path",
        type=Path,
        required=True,
        metavar="CKPT",
        help="checkpoint of the answering stage, such as best.ckpt of a run folder",
    )
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
    add("--top", type=int, default=5, metavar="K", help="most answers of each (default: 5)")
    add("--json", action="store_true", help="print a JSON object a line instead of tables")
    add(
        "--explain",
        type=Path,
        metavar="FILE.png",
        help="draw where the words of a single question were transported on its image",
    )
    add("--frame", type=int, metavar="K", help="frame of a DICOM file with several, from 0")
    add(
        "--device",
        default="auto",
        help="auto (a GPU where there is one), cpu, cuda, cuda:1 ... (default: auto)",
    )
    add("--batch_size", type=int, default=16, help="questions in one pass (default: 16)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Arguments after ``answer``.

    Returns:
        0, or 1 when some of several pairs could not be answered; each says why.

    Raises:
        UserError: If an option is wrong, the checkpoint cannot be used, or a single pair cannot
            be answered.
    """
    options = answer_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may hold bytes that are no text, and must not end a list in its middle. JSON is
        # UTF-8 wherever it goes, and such a byte written as \udcXX is valid in it.
        encoding = "utf-8" if options.json else None
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    pairs = _pairs(options)
    if options.explain is not None:
        if len(pairs) != 1:
            raise UserError(f"--explain draws one question and {len(pairs)} are asked: give one.")
        if options.explain.suffix.lower() != ".png":
            raise UserError(f"{options.explain}: the drawing is a PNG file; end its name in .png.")
    for name, number in (("top", options.top), ("batch_size", options.batch_size)):
        if number < 1:
            raise UserError(f"--{name} is {number}: give at least 1.")
    # Torch, after everything that needs no patience.
    from amif_lightning.inference.load import restore

    task = restore(options.ckpt_path, options.device)
    candidates = len(task.space.candidates) if task.space is not None else 0
    failed = 0
    for pair, outcome in _outcomes(task, pairs, options):
        failed += isinstance(outcome, UserError)
        lines = _json_line if options.json else _table
        print(lines(pair, outcome, options.ckpt_path, task), flush=True)
        if options.explain is not None and not isinstance(outcome, UserError):
            _explain(task, pair, outcome, options.explain)
    end = sys.stderr if options.json else sys.stdout
    print(f"{candidates} candidate answers, {_trained_on(task)}. {NOTICE}", file=end)
    if failed:
        print(f"{failed} of {len(pairs)} questions could not be answered.", file=sys.stderr)
    return int(failed > 0)


def _pairs(options: argparse.Namespace) -> list[AskedFile]:
    """What is asked, before anything slow is imported.

    Raises:
        UserError: If nothing is asked, or it is asked in two ways.
    """
    if options.questions is not None:
        if options.image is not None or options.question or options.frame is not None:
            raise UserError(
                "--questions names images and questions itself: leave out --image, --question "
                "and --frame."
            )
        return read_questions(options.questions)
    if options.image is None or not options.question:
        raise UserError("give --image and --question, or --questions FILE.jsonl.")
    if not all(question.strip() for question in options.question):
        raise UserError("--question is empty: write it in words.")
    if not os.path.exists(options.image):
        raise UserError(
            f"The image {options.image} does not exist, or its folder cannot be read: check the "
            "path."
        )
    images = [options.image]
    if os.path.isdir(options.image):
        from amif_lightning.data.preprocessing.image_files import images_in  # knows the formats

        images, others = images_in(options.image)
        if not images:
            raise UserError(f"{options.image} holds no image: give a folder of PNG, JPEG, ...")
        if others:
            print(f"{options.image}: {others} files are no images: skipped", file=sys.stderr)
    return [AskedFile(image, q, options.frame) for image in images for q in options.question]


def read_questions(path: Path) -> list[AskedFile]:
    """The pairs of a file with one JSON object a line; images lie relative to its folder.

    Raises:
        UserError: Naming the line that is no such object.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8.") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = _Line.model_validate(json.loads(line))
        except ValueError as error:
            what = fault(error) if isinstance(error, ValidationError) else f"no JSON ({error})"
            raise UserError(f"{path}, line {number}: {what}; write {_EXAMPLE}.") from error
        name = None if one.id is None else str(one.id)
        pairs.append(AskedFile(path.parent / one.image, one.question, one.frame, name))
    if not pairs:
        raise UserError(f"{path} holds no line such as {_EXAMPLE}.")
    return pairs


def _path(image: Any) -> str:
    # Not pydantic's own text, which refuses file names with bytes of other encodings.
    if not isinstance(image, str) or not image or "\0" in image:
        raise ValueError("no path of an image")
    return image


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    image: Annotated[Any, AfterValidator(_path)]
    question: str = Field(pattern=r"\S")
    frame: int | None = None
    id: str | int | float | None = None


_EXAMPLE = '{"image": "a.png", "question": "..."}, with "frame" or "id" where you need them'


def _outcomes(
    task: AMiFVQA, pairs: Sequence[AskedFile], options: argparse.Namespace
) -> Iterator[tuple[AskedFile, Answered | UserError]]:
    """What is said to each pair, or why nothing is; a single pair raises instead."""
    from tqdm import tqdm

    from amif_lightning.tasks.answering.single_question import Asked, ask

    def answers(some: Sequence[AskedFile]) -> list[Answered]:
        return ask(task, [Asked(p.image, p.question, p.frame) for p in some], options.top)

    def alone(pair: AskedFile) -> Answered | UserError:
        try:
            return answers([pair])[0]
        except UserError as error:
            return error

    batches = range(0, len(pairs), options.batch_size)
    hidden = len(batches) < 2 or not sys.stderr.isatty() or sys.stdout.isatty()
    for start in tqdm(batches, desc="answer", unit="batch", disable=hidden):
        batch = pairs[start : start + options.batch_size]
        try:
            outcomes: list[Any] = list(answers(batch))
        except UserError:
            if len(pairs) == 1:
                raise
            outcomes = [alone(pair) for pair in batch]  # the others can be answered
        yield from zip(batch, outcomes, strict=True)


def _json_line(pair: AskedFile, outcome: Answered | UserError, path: Path, task: AMiFVQA) -> str:
    fields: dict[str, Any] = {"image": str(pair.image), "question": pair.question}
    if pair.frame is not None:
        fields["frame"] = pair.frame
    if pair.name is not None:
        fields["id"] = pair.name
    if isinstance(outcome, UserError):
        return json.dumps(fields | {"error": str(outcome)}, ensure_ascii=False)
    fields["answers"] = [one._asdict() for one in outcome.answers]
    fields |= {"cut_tokens": outcome.cut, "unknown_words": outcome.unknown}
    fields |= {"checkpoint": str(path), "protocol": _protocol(task)}
    return json.dumps(fields, ensure_ascii=False)


def _table(pair: AskedFile, outcome: Answered | UserError, path: Path, task: AMiFVQA) -> str:
    frame = "" if pair.frame is None else f", frame {pair.frame}"
    head = f"{pair.image}{frame}: {pair.question}"
    if isinstance(outcome, UserError):
        return f"{head}\n  not answered: {outcome}\n"
    rest = 1.0 - sum(one.probability for one in outcome.answers)
    rows = [(f"{i:>2}", a, p) for i, (a, p) in enumerate(outcome.answers, start=1)]
    rows.append((" -", "(anything else)", max(rest, 0.0)))
    width = max(len(text) for _, text, _ in rows)
    lines = [f"  {place}  {text:<{width}}  {100 * share:5.1f} %" for place, text, share in rows]
    if outcome.cut:
        lines.append(f"  note: the last {outcome.cut} tokens of the question were not read")
    if outcome.unknown:
        lines.append(f"  note: {outcome.unknown} words of the question are unknown")
    return "\n".join([head, *lines, ""])


def _explain(task: AMiFVQA, pair: AskedFile, outcome: Answered, path: Path) -> None:
    from amif_lightning.inference.explain import explain
    from amif_lightning.tasks.answering.single_question import Asked

    figure = explain(task, Asked(pair.image, pair.question, pair.frame), outcome)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): choose another folder.") from error
    print(f"Drawing written to {path}.", file=sys.stderr)


def _protocol(task: AMiFVQA) -> str:
    from amif_lightning.data.schema.question_splits import protocol_label

    if task.space is None:
        return ""
    space = task.space
    scored = str(space.selection.get("test_split", "test"))  # a mixture has one for each part
    # Older checkpoints do not say whose answers they choose from.
    known = space.answers_from
    return protocol_label(space.protocol, scored, known) if known else space.protocol


def _trained_on(task: AMiFVQA) -> str:
    """Where the candidates come from, as far as the checkpoint says."""
    from amif_lightning.tasks.checkpoints import by_dataset

    names = list(by_dataset(task.space.selection)) if task.space is not None else []
    return f"protocol {_protocol(task)}" + (f", trained on {' and '.join(names)}" if names else "")
