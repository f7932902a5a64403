"""An answering checkpoint as a folder without pickles, which others can load without network.

``config.json`` holds what a checkpoint stores besides weights and optimizer: options, candidate
answers and vocabulary. ``text`` and ``vision`` hold configurations of encoders that this suite
would otherwise look up on the hub or in another folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amif_lightning.data.files.atomic import read_text
from amif_lightning.errors import UserError, first_line
from amif_lightning.hub import use_cache_if_unreachable
from amif_lightning.models.vision import CONFIGURED
from amif_lightning.tasks.answering.doubts import DOUBTS

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
TEXT, VISION = "text", "vision"
FORMAT = 1
#: Entries of a checkpoint that are needed to answer, besides its weights and its tokenizer.
_KEPT = (
    *("hyper_parameters", "answer_space", "origin", "pytorch-lightning_version", "hparams_name"),
    DOUBTS,
)
#: What is fetched; anything else in a repository is not read.
FILES = [CONFIG, WEIGHTS, TOKENIZER, f"{TEXT}/config.json", f"{VISION}/open_clip_config.json"]
_AGAIN = "fetch the folder again, or write it anew with `share`"


def write_shared(checkpoint: Mapping[str, Any], folder: Path) -> None:
    """Write weights, tokenizer and ``config.json`` of an answering checkpoint to a folder.

    Encoder configurations that are already in ``folder`` replace the names of hub models.
    """
    from safetensors.torch import save_file

    stored = {name: checkpoint[name] for name in _KEPT if name in checkpoint}
    stored["answer_space"] = {k: v for k, v in stored["answer_space"].items() if k != "tokenizer"}
    first: dict[tuple[int, Any, Any], str] = {}
    tensors, tied = {}, {}  # safetensors refuses tensors that share memory
    for name, value in checkpoint["state_dict"].items():
        kept = first.setdefault((value.data_ptr(), value.shape, value.stride()), name)
        if kept == name or not value.numel():
            tensors[name] = value.contiguous()
        else:
            tied[name] = kept
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / TOKENIZER).write_text(checkpoint["tokenizer"], encoding="utf-8")
    values = {
        "model_type": "amif",
        "format": FORMAT,
        "amif_lightning": version("amif-lightning"),
        "sha256": {name: _sha256(folder / name) for name in (WEIGHTS, TOKENIZER)},
        "tied": tied,
        "checkpoint": stored,
    }
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def fetch_shared(source: str | Path) -> Path:
    """Return the folder of a model: a local folder, or one on the Hugging Face hub.

    ``source`` is a path, or ``NAMESPACE/NAME`` with an optional ``@REVISION``.

    Raises:
        UserError: If there is neither.
    """
    if Path(source).is_dir():
        _check_files(Path(source))
        return Path(source)
    name, _, revision = str(source).partition("@")
    from huggingface_hub import snapshot_download

    use_cache_if_unreachable()
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=FILES))
    except Exception as error:  # of the HTTP client and of the hub's name rules
        raise UserError(
            f"{source} is no folder and cannot be fetched from the hub ({first_line(error)}): "
            "check the name, log in with `hf auth login` if it is private, or give a folder that "
            "`share` wrote."
        ) from error


def read_shared(folder: Path) -> dict[str, Any]:
    """Read a folder of :func:`write_shared` as a checkpoint.

    Raises:
        UserError: If a file is missing, of another version or differs from its checksum.
    """
    from safetensors.torch import load_file

    config = folder / CONFIG
    _check_files(folder)
    try:
        values: Any = json.loads(read_text(config))
        kind, layout = values["model_type"], values["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{config} is not of an AMiF model ({first_line(error)}): {_AGAIN}."
        ) from error
    if kind != "amif" or layout != FORMAT:
        raise UserError(
            f"{config} is of type {kind!r}, format {layout!r}, and this program reads 'amif', "
            f"format {FORMAT}: use the version that wrote the folder."
        )
    try:
        for name, expected in values["sha256"].items():
            if (found := _sha256(folder / name)) != expected:
                raise UserError(
                    f"{folder / name} is damaged (SHA-256 {found[:12]}... instead of "
                    f"{expected[:12]}...): {_AGAIN}."
                )
        checkpoint: dict[str, Any] = dict(values["checkpoint"])
        state = load_file(folder / WEIGHTS)
        state |= {name: state[kept] for name, kept in values["tied"].items()}
        options = dict(checkpoint["hyper_parameters"])
        if (folder / TEXT).is_dir():
            options["text"] = str(folder / TEXT)
        if (folder / VISION).is_dir():
            options["vision"] = f"{CONFIGURED}{folder / VISION}"
        tokenizer = read_text(folder / TOKENIZER)
        space = checkpoint["answer_space"] | {"tokenizer": tokenizer}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{config} lacks a part ({first_line(error)}): {_AGAIN}.") from error
    return checkpoint | {
        "state_dict": state,
        "hyper_parameters": options,
        "answer_space": space,
        "tokenizer": tokenizer,
    }


def _check_files(folder: Path) -> None:
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise UserError(f"The model {folder} lacks {name}: {_AGAIN}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
