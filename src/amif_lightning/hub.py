"""The Hugging Face hub: whether it answers, and folders of its models without network."""

from __future__ import annotations

import json
import os
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from amif_lightning.errors import first_line

FOLDER = "local-dir:"  # open_clip's prefix of the name of a local model
#: Way out of an unreachable hub, as the middle of a sentence.
DOWNLOAD = (
    "fetch it on a machine with network (`python -m amif_lightning prepare weights --to FOLDER`, "
    "docs/weights.md)"
)
_PATIENCE = 4.0  # seconds; HF_HUB_ETAG_TIMEOUT replaces it


def use_cache_if_unreachable(name: str = "") -> None:
    """Set the Hugging Face libraries offline for this process if the hub does not answer.

    Otherwise they repeat each request for up to a minute before they use their cache or give up.
    Does nothing if ``name`` is a local folder, or if HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode() or (name and Path(name).is_dir()):
        return
    if (reason := unreachable()) is not None:
        warnings.warn(
            f"{reason}, so only models in its cache are used; HF_HUB_OFFLINE=1 skips this check.",
            stacklevel=2,
        )
        constants.HF_HUB_OFFLINE = True  # read at each request, unlike the variable
        os.environ["HF_HUB_OFFLINE"] = "1"  # for processes that this one starts


def unreachable() -> str | None:
    """Send the hub one request; return why it cannot be used, or None. Asked once per process."""
    from huggingface_hub import constants

    patience = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or _PATIENCE)
    return _ask(constants.ENDPOINT, patience)


@cache
def _ask(endpoint: str, patience: float) -> str | None:
    from huggingface_hub import get_session

    trouble = [f"no answer within {patience:g} s"]

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=patience)
        except Exception as error:  # of the HTTP client, which the library may replace
            trouble[:] = [first_line(error)]
        else:
            trouble.clear()

    # A thread, because the search for an address has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return f"{endpoint} is not reachable ({trouble[0]})" if trouble else None


def text_tower(name: str) -> dict[str, Any]:
    """Return arguments with which open_clip builds the text tower of a local model.

    ``hf_model_name`` of its ``open_clip_config.json`` may be a path relative to the model's folder,
    which may therefore be moved. open_clip itself knows absolute paths and the hub's names only.
    """
    folder = Path(name.removeprefix(FOLDER))
    try:
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        text = dict(config["model_cfg"]["text_cfg"])
        bert = str(text.get("hf_model_name") or "")
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # open_clip names the fault
    if bert and (folder / bert).is_dir():
        changes = {"hf_model_name": str(folder / bert), "hf_model_pretrained": False}
        return {"text_cfg": text | changes}
    if bert:
        use_cache_if_unreachable(bert)
    return {}
