"""MedICaT: which figures, which caption, papers that stay together, malformed lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.data.files.tables import MALFORMED, NO_FILE
from amif_lightning.data.schema.studies import NO_TEXT
from amif_lightning.errors import UserError
from data_modules.pretrain.medicat import BAD_FIELD, NOT_RADIOLOGY, TWICE, MedICaT
from tests.fakes_corpora import MEDICAT, MEDICAT_FILE, QUICK, medicat_figure, reasons, write_medicat

OPTIONS = QUICK | {"batch_size": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_medicat(tmp_path)
    return tmp_path


def texts(data: MedICaT) -> list[str]:
    return [row.text for row in data.release.splits["train"]]


@pytest.mark.parametrize("inner", ["", "release"])
def test_radiology_figures_with_their_captions(root: Path, inner: str) -> None:
    data = MedICaT(str(root / inner), **OPTIONS)
    assert texts(data) == [
        "Fig. 1. CT of case 1.",
        "Figure 2. Another wording.",
        "Fig. 3. CT of case 3.",
        "",
        "Fig. 6. CT of case 6.",
        "Fig. 7. CT of case 7.",
    ]
    assert reasons(data) == {NOT_RADIOLOGY: 1, NO_FILE: 1, NO_TEXT: 1}
    row = data.release.splits["train"][0]
    name = f"{MEDICAT[0]['pdf_hash']}_1-Figure1-1.png"
    assert (row.study_id, row.group) == (f"MedICaT/{name}", MEDICAT[0]["pdf_hash"])
    assert row.images[0].file == root / "release" / "figures" / name


def test_other_figures_and_references_by_option(root: Path) -> None:
    data = MedICaT(str(root), radiology_only=False, inline_references=True, **OPTIONS)
    found = texts(data)
    assert found[0] == "Fig. 1. CT of case 1. A cyst was seen (Fig. 1) . It shrank."
    assert found[2] == "Fig. 3. CT of case 3."
    assert found[3].startswith("Fig. 4.")
    assert found[4] == ""  # references alone are no caption
    assert data.selection()["inline_references"] is True


def test_the_figures_of_a_paper_stay_together(root: Path) -> None:
    held_out: set[str] = set()
    for seed in range(8):
        data = MedICaT(str(root), split_seed=seed, validation_fraction=0.4, **OPTIONS)
        data.setup("fit")
        train, validation = ({row.group for row in data.rows(s)} for s in ("train", "validation"))
        assert validation
        assert not train & validation
        held_out |= validation
        batch = next(iter(data.train_dataloader()))
        assert batch.first.shape == (1, 3, 16, 16)
    assert len(held_out) > 1
    with pytest.raises(UserError, match="MedICaT has no test split"):
        data.setup("test")


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{MEDICAT_FILE} is not there, so ask for the release"):
        MedICaT(str(tmp_path), **OPTIONS).read_release()
    write_medicat(tmp_path)
    (tmp_path / "release" / "figures").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"figures does not exist, so unpack the figures"):
        MedICaT(str(tmp_path), **OPTIONS).read_release()


@pytest.mark.parametrize(
    "changes",
    [
        {"pdf_hash": "../a"},
        {"fig_uri": "a/../../b.png"},
        {"fig_uri": ".."},
        {"fig_uri": None},
        {"radiology": "true"},
        {"s2_caption": 3},
        {"s2_caption": "half \ud800"},
        {"s2orc_references": "one"},
        {"s2orc_references": [None]},
    ],
)
def test_fields_of_another_kind_are_counted(root: Path, changes: dict[str, Any]) -> None:
    lines = [json.dumps(MEDICAT[0]), json.dumps(medicat_figure(2, 1, **changes))]
    write_medicat(root, [*lines, "[]", json.dumps(MEDICAT[0])])
    data = MedICaT(str(root), **OPTIONS)
    assert texts(data) == ["Fig. 1. CT of case 1."]
    assert [row.reason for row in data.release.dropped] == [BAD_FIELD, MALFORMED, TWICE]
