"""``share``: write a checkpoint as a folder for the Hugging Face hub, and upload it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from amif_lightning.cli.commands.plain_parser import PlainParser
from amif_lightning.data.files.atomic import new_folder
from amif_lightning.errors import UserError, first_line


def share_parser() -> PlainParser:
    """Build the parser of ``share``."""
    parser = PlainParser(
        "share",
        "Write a checkpoint of the answering stage as a folder without pickles: safetensors, "
        "configuration, tokenizer, candidate answers, and a model card with the verdict of its "
        "records. `answer --model FOLDER` and `AMiFVQA.from_pretrained` read it without network.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CKPT", type=Path, help="such as best.ckpt of a run folder")
    add("--to", metavar="FOLDER", type=Path, help="the folder to write; it must not exist")
    add(
        "--space",
        metavar="FOLDER",
        type=Path,
        help="write a Docker Space of the hub, which serves the page of `demo`; with --wheel",
    )
    add("--wheel", metavar="FILE.whl", type=Path, help="of this package: pip wheel --no-deps .")
    add("--push", metavar="NAMESPACE/NAME", help="also upload it to this repository of the hub")
    add("--public", action="store_true", help="make a new repository public; private by default")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command with the options after ``share``; returns 0.

    Raises:
        UserError: If the checkpoint is unusable, the folder exists, or the upload fails.
    """
    options = share_parser().parse_args(argv)
    if options.to is None and options.push is None and options.space is None:
        raise UserError("give --to FOLDER, --push NAMESPACE/NAME or --space FOLDER.")
    if (options.space is None) != (options.wheel is None):
        raise UserError("--space FOLDER and --wheel FILE.whl go together: give both.")
    if options.public and options.push is None:
        raise UserError("--public is for the repository of --push: give both.")
    for option in ("to", "space"):
        given = getattr(options, option)
        if given is not None and given.exists():
            raise UserError(f"{given} exists already: give a new folder as --{option}.")
    if options.space is not None:
        _write_space(options.checkpoint, options.space, options.wheel)
        if options.to is None and options.push is None:
            return 0
    with ExitStack() as stack:
        target = options.to
        if target is None:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
        with new_folder(target, "free disk space there, or give another folder as --to") as folder:
            scored = _write(options.checkpoint, folder, options.push or target.name)
            folder.rename(target)
        _warn_unless(scored, options.checkpoint)
        if options.to is not None:
            print(f"Model written to {target}: read README.md before you pass it on.")
        if options.push is not None:
            print(f"Uploaded to {_push(target, options.push, options.public)}.")
    return 0


def _write_space(checkpoint: Path, target: Path, wheel: Path) -> None:
    from amif_lightning.inference.space import MODEL, write_space

    with new_folder(target, "free disk space there, or give another folder as --space") as folder:
        write_space(folder, wheel, target.name)  # checks the wheel before the slow part
        (folder / MODEL).mkdir()
        scored = _write(checkpoint, folder / MODEL, target.name)
        folder.rename(target)
    _warn_unless(scored, checkpoint)
    print(f"Space written to {target}: read model/README.md before you upload it.")


def _warn_unless(scored: bool, checkpoint: Path) -> None:
    if not scored:
        print(
            f"warning: {checkpoint.parent} holds no result of this checkpoint, so the card says "
            "that its accuracy is unknown."
        )


def _write(checkpoint: Path, folder: Path, name: str) -> bool:
    """Write all files; return whether the checkpoint has results."""
    from amif_lightning.checkpoint_file import read_checkpoint
    from amif_lightning.inference.load import task_of
    from amif_lightning.inference.model_card import (
        doubts_of,
        eval_results,
        model_card,
        results_of,
    )
    from amif_lightning.tasks.answering.doubts import DOUBTS
    from amif_lightning.tasks.answering.shared_folder import TEXT, VISION, write_shared

    state = read_checkpoint(checkpoint)
    task = task_of(state, checkpoint)  # checks it
    options = state["hyper_parameters"]
    if options["text"] not in ("small", "minilm"):
        task.text.bert.config.save_pretrained(folder / TEXT)
    if options["vision"].startswith(("hf-hub:", "local-dir:")):
        (folder / VISION).mkdir()
        text = json.dumps(_image_tower(options["vision"]), indent=1)
        (folder / VISION / "open_clip_config.json").write_text(text, encoding="utf-8")
    write_shared(state | {DOUBTS: list(doubts_of(checkpoint))}, folder)
    groups = results_of(checkpoint)
    assert task.space is not None  # `task_of` requires candidates
    (folder / "README.md").write_text(model_card(name, task.space, groups), encoding="utf-8")
    files = eval_results(groups)
    if files:
        (folder / ".eval_results").mkdir()
    for file, content in files.items():
        (folder / ".eval_results" / file).write_text(content, encoding="utf-8")
    return bool(groups)


def _image_tower(name: str) -> dict[str, Any]:
    """Return open_clip's configuration of a tower, with the smallest text tower that it accepts."""
    kind, _, place = name.partition(":")
    file = Path(place) / "open_clip_config.json"
    if kind == "hf-hub":
        from huggingface_hub import hf_hub_download

        file = Path(hf_hub_download(place, file.name))
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    config["model_cfg"]["text_cfg"] = {
        "context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1
    }  # fmt: skip
    return config


def _push(folder: Path, name: str, public: bool) -> str:
    """Upload a folder; return its address."""
    from huggingface_hub import HfApi

    api = HfApi(library_name="amif_lightning")
    try:
        address = api.create_repo(name, private=not public, exist_ok=True)
        # Nothing of an earlier upload may stay beside the new weights.
        api.upload_folder(repo_id=name, folder_path=folder, delete_patterns="*")
    except Exception as error:  # of the HTTP client and of the hub's name rules
        raise UserError(
            f"The model could not be uploaded to {name} ({first_line(error)}): log in with "
            "`hf auth login` and an access token that may write there, or check the name."
        ) from error
    return str(address)
