"""``export-questions``: write what another model has to be asked, for ``score``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from amif_lightning.cli.commands.answer_files import Shown
from amif_lightning.cli.commands.score import add_split, question_base, ready, split_words
from amif_lightning.cli.data_command import build, data_parser
from amif_lightning.data.files.atomic import write_atomically


def main(argv: Sequence[str]) -> int:
    """Run the command with the options after ``export-questions``; returns 0.

    Raises:
        UserError: If an option is wrong, the data set has no such questions, or the file cannot be
            written.
    """
    base = question_base()
    parser = data_parser(
        "export-questions",
        "Write the questions of a split as JSON lines with the file of the image to show: the "
        "question's own, or for the controls of `score` another question's or a blank one. Add "
        "an `answer` to every line.",
        base,
    )
    add = parser.add_argument
    add_split(parser)
    add("--images", type=Shown, default="own", help="Images to show.")
    add("--output", type=str, required=True, help="File to write, such as questions.jsonl.")
    built, config = build(parser, base, split_words(argv))
    from amif_lightning.data.loading.question_dataset import BLANK
    from amif_lightning.data.preprocessing.images import BLANK_IMAGE

    module = built.data
    ready(module)
    rows = module.splits.test
    shown = module.control_images().get(config.images, {})
    files = {row.image_key: module.file_of(row) for row in rows} | {BLANK: BLANK_IMAGE}
    lines = [
        {
            "question_id": row.question_id,
            "question": row.question,
            "image": os.path.abspath(files[shown.get(row.image_key, row.image_key)]),
            "images": config.images,
        }
        for row in rows
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(Path(config.output), text)
    print(f"{len(lines)} {module.test_split} questions of {module.dataset} in {config.output}")
    return 0
