"""The base of sets with a parquet layout: unpacked if that is read, else the root as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amif_lightning.data.loading.vqa_module import PARQUET, HubQuestions
from amif_lightning.data.schema.questions import Release
from tests.data.files.parquet_files import row, write_parquet
from tests.data.tiny_release import tiny_release


class Either(HubQuestions):
    """Reads parquet files or a release made in the test."""

    title, source = "Either", "nowhere"

    def __init__(self, root: Path, layout: str, **options: Any) -> None:
        write_parquet(root, {"train": [row(1, "A?", "a")]})
        super().__init__(
            str(root), layout=layout, tokenizer="words", augmentation="none", **options
        )

    @property
    def layouts(self) -> Mapping[str, Sequence[str]]:
        return {"made": ("*",), "hf": PARQUET}

    def read_release(self) -> Release:
        if self.parquet is None:
            return tiny_release(self.root)
        splits, dropped = self.parquet.read()
        return Release("Either", "hf", splits, dropped=tuple(dropped))


def test_another_layout_unpacks_nothing_and_reads_below_the_root(tmp_path: Path) -> None:
    data = Either(tmp_path / "set", "auto", unpacked=str(tmp_path / "unpacked"))
    data.prepare_data()
    assert data.chosen_layout == "made"  # the first one that is there
    assert not (tmp_path / "unpacked").exists()
    first = data.release.splits["train"][0]
    assert data.file_of(first) == tmp_path / "set" / first.image


def test_parquet_is_unpacked_and_read_from_there(tmp_path: Path) -> None:
    data = Either(tmp_path / "set", "hf", unpacked=str(tmp_path / "unpacked"))
    data.prepare_data()
    (file,) = data.images().values()
    assert file.is_file()
    assert tmp_path / "unpacked" in file.parents
    assert data.parquet is not None
    assert data.parquet.dataset == "Either"
