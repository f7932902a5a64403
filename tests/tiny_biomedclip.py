"""A folder in the layout of BiomedCLIP's, of a model that runs in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizer

WORDS = ("lung", "heart", "left", "right", "nodule", "effusion", "no", "finding", "in", "the")
SIDE, WIDTH, SCALE = 160, 24, 4.4


def write_bert(folder: Path) -> Path:
    """Write a small BERT with random weights and its tokenizer."""
    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
    )
    BertModel(config).eval().save_pretrained(folder)
    return folder


def write_biomedclip(folder: Path, seed: int = 0, context_length: int = 256) -> Path:
    """Write a timm image tower and a BERT text tower with random weights, and their tokenizer."""
    write_bert(folder)
    (folder / "model.safetensors").unlink()  # its weights are in open_clip's file
    config: dict[str, Any] = {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": SIDE,
        },
        "text_cfg": {
            "hf_model_name": str(folder),
            "hf_tokenizer_name": str(folder),
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": context_length,
        },
    }
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}  # not CLIP's
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    configs = folder.parent / f"{folder.name}-configs"
    configs.mkdir()
    (configs / f"{folder.name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(configs)
    torch.manual_seed(seed)
    model: Any = open_clip.create_model(folder.name, pretrained_text=False)
    with torch.no_grad():
        model.logit_scale.fill_(SCALE)
        for part in model.modules():
            if isinstance(part, nn.Linear | nn.Embedding):  # with BERT's own, texts hardly differ
                part.weight.mul_(8)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
