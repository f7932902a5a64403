"""A hub that does not answer costs seconds, and models in its cache still load."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import is_offline_mode, snapshot_download
from transformers import BertConfig

from amif_lightning import hub
from amif_lightning.data.files.weights import fetch_weights
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.teacher.networks import OpenClipTeacher
from amif_lightning.errors import UserError
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import build_vision
from tests.hub_server import publish, serving_hub, use_hub

NAME = "owner/some-bert"
LOADERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "text": (NAME, lambda _: TextEncoder(NAME)),
    "tokenizer": (NAME, lambda _: Tokenizer.from_pretrained(NAME)),
    "vision": ("ViT-B-16", lambda _: build_vision("ViT-B-16", "openai", 32)),
    "vision of the hub": (f"hf-hub:{NAME}", lambda _: build_vision(f"hf-hub:{NAME}", None, 32)),
    "teacher": (f"hf-hub:{NAME}", lambda _: OpenClipTeacher(f"hf-hub:{NAME}")),
    "local teacher": ("local-dir:", lambda folder: OpenClipTeacher(f"local-dir:{folder}")),
    "weights": ("timm/", lambda folder: fetch_weights(folder / "w", ["vision"])),
}
#: A model whose text tower is on the hub.
CONFIG = """{"model_cfg": {"embed_dim": 8, "vision_cfg": {"timm_model_name": "test_vit"},
"text_cfg": {"hf_model_name": "owner/some-bert"}}}"""


@pytest.fixture(params=["refuses", "is silent"])
def endpoint(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A port without a listener, or one that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if request.param == "is silent":
            listener.listen(64)
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.5")
        use_hub(monkeypatch, address, tmp_path / "cache")
        yield address


@pytest.mark.parametrize(("name", "load"), LOADERS.values(), ids=list(LOADERS))
@pytest.mark.filterwarnings("ignore:http.*is not reachable")
def test_failures_take_seconds_and_name_the_way_out(
    endpoint: str, tmp_path: Path, name: str, load: Callable[[Path], object]
) -> None:
    (tmp_path / "open_clip_config.json").write_text(CONFIG)
    start = time.monotonic()
    with pytest.raises(UserError) as raised:
        load(tmp_path)
    assert time.monotonic() - start < 5
    sentence = str(raised.value)
    assert name in sentence
    assert any(way in sentence for way in ("prepare weights --to", "with network", "weights.md"))
    assert "\n" not in sentence


def test_the_first_wait_is_short() -> None:
    assert hub._PATIENCE < 5


def test_a_cached_model_is_used_if_the_hub_does_not_answer(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 9,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "intermediate_size": 8,
    }
    config = BertConfig(num_attention_heads=1, **sizes).to_json_string()
    with serving_hub(tmp_path / "cache") as server:
        publish(server, NAME, {"config.json": config.encode()})
        snapshot_download(NAME)
        hub.use_cache_if_unreachable()
        assert not is_offline_mode()  # this one answers
    start = time.monotonic()
    with pytest.warns(UserWarning, match=f"{endpoint} is not reachable .*, so only models in its"):
        assert TextEncoder(NAME, pretrained=False).width == 8
    assert time.monotonic() - start < 5
    assert is_offline_mode()


def test_local_models_do_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: pytest.fail("asked"))
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    BertConfig().save_pretrained(tmp_path)
    hub.use_cache_if_unreachable(str(tmp_path))
    build_vision("conv", None, 64)
    TextEncoder("small", width=16, heads=2)
    assert not is_offline_mode()
