"""The embeddings file: written, read by the library too, and refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amif_lightning.data.teacher import store as embeddings_file
from amif_lightning.data.teacher.store import (
    About,
    check_header,
    read_about,
    read_embeddings,
    write_embeddings,
)
from amif_lightning.errors import UserError

ABOUT = About(("d/a.png", "d/ü.png"), ("d/1", "d/2", "d/3"), 4.5, "somebody", "f" * 64)


def rows(count: int, seed: int = 0, width: int = 5) -> Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def somebodys(path: Path, **changes: Any) -> Path:
    """A file written by the library alone; ``None`` leaves a part out."""
    tensors = {"image": rows(2), "text": rows(3, 1)}
    metadata = {
        "image_ids": json.dumps(ABOUT.image_ids),
        "text_ids": json.dumps(ABOUT.text_ids),
        "logit_scale": "4.5",
        "teacher": "somebody",
        "data_fingerprint": "f" * 64,
    }
    parts: dict[str, Any] = {**tensors, **metadata, **changes}
    parts = {key: value for key, value in parts.items() if value is not None}
    save_file(
        {key: value for key, value in parts.items() if isinstance(value, Tensor)},
        path,
        {key: value for key, value in parts.items() if isinstance(value, str)},
    )
    return path


def test_what_is_written_is_read_by_us_and_by_the_library(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    image, text = rows(2), rows(3, 1)
    write_embeddings(path, image, text, ABOUT)
    about, found = read_embeddings(path)
    assert about == ABOUT == read_about(path)
    for held in (found, load_file(path)):
        assert torch.equal(held["image"], image)
        assert torch.equal(held["text"], text)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]


def test_a_file_of_the_library_is_read(tmp_path: Path) -> None:
    about, found = read_embeddings(somebodys(tmp_path / "a"))
    assert about == ABOUT
    assert torch.equal(found["text"], rows(3, 1))


def test_half_precision_is_of_unit_norm_too(tmp_path: Path) -> None:
    path = somebodys(tmp_path / "a", image=rows(2).half(), text=rows(3, 1).half())
    assert read_embeddings(path)[1]["image"].dtype == torch.float16


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="teacher_cache"):
        write_embeddings(tmp_path / "file" / "a", rows(2), rows(3, 1), ABOUT)


def _with(values: Tensor, row: int, value: float) -> Tensor:
    values = values.clone()
    values[row] = value
    return values


def test_more_ids_than_a_header_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_header(ABOUT)
    monkeypatch.setattr(embeddings_file, "LARGEST_HEADER", 1024 + 150)
    with pytest.raises(UserError, match="2 images and 3 texts"):
        check_header(ABOUT)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_ids": None}, "has no metadata `image_ids`"),
        ({"data_fingerprint": None}, "has no metadata `data_fingerprint`"),
        ({"text": None}, "has no tensor `text`"),
        ({"image": rows(2).double()}, "`image` of type F64"),
        ({"image": rows(1)[0]}, r"`image` of type F32 and shape \(5,\)"),
        ({"text": rows(2)}, "2 rows of `text` and 3 ids"),
        ({"text": rows(3, 1, width=4)}, "images of width 5 and texts of width 4"),
        ({"text_ids": "d/1, d/2"}, "`text_ids` that is no JSON list"),
        ({"text_ids": "[1, 2, 3]"}, "`text_ids` that is no JSON list"),
        ({"text_ids": '["d/1", "d/2", "d/1"]'}, "names d/1 twice in `text_ids`"),
        ({"logit_scale": "85.2"}, "logit_scale 85.2, which is not the natural logarithm"),
        ({"logit_scale": "nan"}, "logit_scale nan"),
        ({"logit_scale": "-inf"}, "logit_scale -inf"),
        ({"logit_scale": "high"}, "logit_scale high"),
        ({"text": _with(rows(3, 1), 1, 0)}, "`text` that is zero, the first of 1: d/2"),
        ({"text": _with(rows(3, 1), 2, torch.nan)}, "`text` that is not finite, .*: d/3"),
        ({"image": _with(rows(2), 1, torch.inf)}, "`image` that is not finite, .*: d/ü.png"),
        ({"image": 3 * rows(2)}, "`image` that is of norm 3, the first of 2: d/a.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        read_embeddings(somebodys(tmp_path / "a", **changes))
    assert str(tmp_path / "a") in str(error.value)
    assert "\n" not in str(error.value)


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_embeddings(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"not at all")
    with pytest.raises(UserError, match="cannot be read"):
        read_embeddings(tmp_path / "a")
    whole = somebodys(tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(whole[:-4])
    with pytest.raises(UserError, match="cannot be read"):
        read_about(tmp_path / "b")
