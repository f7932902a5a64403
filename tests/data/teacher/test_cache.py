"""A teacher's embeddings of a data set: equal to the online teacher's, made once, never stale."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.teacher import networks as teachers
from amif_lightning.data.teacher.cache import Embeddings, fingerprint, teacher_embeddings
from amif_lightning.data.teacher.networks import OpenClipTeacher, SentenceTeacher
from amif_lightning.data.teacher.store import About, read_embeddings, write_embeddings
from amif_lightning.errors import UserError
from amif_lightning.losses.alignment import soft_labels
from tests.tiny_biomedclip import WORDS, write_bert, write_biomedclip

STUDIES = 6


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher") / "tiny_model_of_embeddings_tests"
    return f"local-dir:{write_biomedclip(folder)}"


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """Two views of each study, of different sizes."""
    found = {}
    for number in range(2 * STUDIES):
        values = np.random.default_rng(number).integers(0, 256, (90 + 7 * number, 80), np.uint8)
        path = tmp_path / "files" / f"{number}.{'png' if number % 3 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(path)
        found[f"d/files/{path.name}"] = path
    return found


@pytest.fixture
def texts() -> dict[str, str]:
    words = np.random.default_rng(0).choice(WORDS, (STUDIES, 8))
    return {f"d/s{number}": " ".join(row) for number, row in enumerate(words)}


Images = dict[str, Path]
Texts = dict[str, str]


def make(folder: Path, source: str, images: Images, texts: Texts) -> Path:
    return teacher_embeddings(folder, "open_clip", source, images, texts, num_workers=0)


def test_a_text_teacher_gives_images_the_features_of_their_texts(
    images: Images, texts: Texts, tmp_path: Path
) -> None:
    folder = write_bert(tmp_path / "bert")
    names = list(texts)
    texts_of = {image: [names[place // 2]] for place, image in enumerate(images)}
    texts_of[next(iter(images))].append(names[-1])  # an image of two studies
    path = teacher_embeddings(
        tmp_path, "text", str(folder), images, texts, texts_of=texts_of, num_workers=0
    )
    given, teacher = Embeddings.read(path), SentenceTeacher(str(folder))
    for image, own in texts_of.items():
        expected = teacher.text([texts[name] for name in own]).mean(0)
        expected /= expected.norm()
        torch.testing.assert_close(given.image([image])[0], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(given.text(names), teacher.text(list(texts.values())))
    assert given.scale == pytest.approx(teacher.scale)


def assert_same_content(one: Path, other: Path) -> None:
    """The library writes metadata in another order in every call, so the bytes differ."""
    (about, rows), (others_about, others_rows) = read_embeddings(one), read_embeddings(other)
    assert about == others_about
    assert all(torch.equal(rows[name], others_rows[name]) for name in ("image", "text"))


def same(count: int) -> torch.Tensor:
    return torch.eye(count, dtype=torch.bool)


def test_soft_labels_equal_the_online_teachers_in_any_order(
    source: str, images: Images, texts: Texts, tmp_path: Path
) -> None:
    given = Embeddings.read(make(tmp_path / "cache", source, images, texts))
    teacher = OpenClipTeacher(source)
    order = [4, 0, 5, 2]  # neither all studies nor their order in the file
    firsts, seconds = list(images)[:STUDIES], list(images)[STUDIES:]
    online = {}
    for name, ids in (("first", firsts), ("second", seconds)):
        decoded = [decode_image(images[ids[number]]) for number in order]
        online[name] = teacher.image(torch.stack([teacher.prepare(one) for one in decoded]))
    studies = [list(texts)[number] for number in order]
    online["text"] = teacher.text([texts[study] for study in studies])
    stored = {
        "first": given.image([firsts[number] for number in order]),
        "second": given.image([seconds[number] for number in order]),
        "text": given.text(studies),
    }
    assert given.scale == pytest.approx(teacher.scale)
    for a, b in (("first", "text"), ("first", "second"), ("text", "text"), ("text", "first")):
        expected = soft_labels(online[a], online[b], teacher.scale, same(4))
        found = soft_labels(stored[a], stored[b], given.scale, same(4))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
        assert float(expected.max() - expected.min()) > 0.05  # not the same for all
        if (a, b) != ("text", "text"):  # a wrong order only permutes its columns
            wrong = soft_labels(stored[a].roll(1, 0), stored[b], given.scale, same(4))
            assert float((wrong - expected).abs().max()) > 1e-2


def test_a_reordered_data_set_is_the_same_one(
    source: str, images: Images, texts: Texts, tmp_path: Path
) -> None:
    path = make(tmp_path / "cache", source, images, texts)
    before = path.stat().st_mtime_ns
    turned = dict(reversed(images.items())), dict(reversed(texts.items()))
    assert make(tmp_path / "cache", source, *turned) == path
    assert path.stat().st_mtime_ns == before
    other = make(tmp_path / "other", source, *turned)
    assert_same_content(other, path)


def test_a_finished_file_needs_no_teacher(
    source: str, images: Images, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "cache", source, images, texts)
    monkeypatch.setattr(teachers, "open_teacher", lambda *args: pytest.fail("loaded a teacher"))
    assert make(tmp_path / "cache", source, images, texts) == path
    assert not list((tmp_path / "cache").glob("*.parts"))


def test_a_file_belongs_to_its_teacher_and_its_data(
    source: str, images: Images, texts: Texts, tmp_path: Path
) -> None:
    path = make(tmp_path / "cache", source, images, texts)
    other = f"local-dir:{write_biomedclip(tmp_path / 'tiny_model_of_another_seed', seed=1)}"
    found = {make(tmp_path / "cache", other, images, texts)}
    changed = texts | {"d/s0": "nodule"}
    found.add(make(tmp_path / "cache", source, images, changed))
    next(iter(images.values())).write_bytes(Path(images["d/files/1.png"]).read_bytes())
    found.add(make(tmp_path / "cache", source, images, texts))
    assert len(found | {path}) == 4


def test_a_file_under_the_name_of_another_is_refused(
    source: str, images: Images, texts: Texts, tmp_path: Path
) -> None:
    path = make(tmp_path / "cache", source, images, texts)
    changed = make(tmp_path / "cache", source, images, texts | {"d/s0": "nodule"})
    path.write_bytes(changed.read_bytes())
    with pytest.raises(UserError, match="of other data") as error:
        make(tmp_path / "cache", source, images, texts)
    assert str(path) in str(error.value)
    other = f"local-dir:{write_biomedclip(tmp_path / 'tiny_model_of_another_name', seed=1)}"
    path.write_bytes(make(tmp_path / "other", other, images, texts).read_bytes())
    with pytest.raises(UserError, match="of another teacher"):
        make(tmp_path / "cache", source, images, texts)


# ---- a given file -----------------------------------------------------------------------------


def given_file(path: Path, images: Images, texts: Texts) -> Path:
    data = fingerprint(list(images), [file.stat().st_size for file in images.values()], dict(texts))
    about = About(tuple(images), tuple(texts), 4.0, "somebody", data)
    image, text = torch.eye(len(images), 20), torch.eye(len(texts), 20)
    write_embeddings(path, image, text, about)
    return path


def given(path: Path, images: Images, texts: Texts) -> Path:
    return teacher_embeddings(path.parent, "embeddings", str(path), images, texts)


def test_a_given_file_is_used_as_it_is(images: Images, texts: Texts, tmp_path: Path) -> None:
    path = given_file(tmp_path / "mine.safetensors", images, texts)
    assert given(path, dict(reversed(images.items())), texts) == path
    rows = Embeddings.read(path).image([list(images)[3], next(iter(images))])
    assert rows.argmax(1).tolist() == [3, 0]
    assert rows.dtype == torch.float32


def test_a_given_file_of_other_data_is_refused(
    images: Images, texts: Texts, tmp_path: Path
) -> None:
    path = given_file(tmp_path / "mine.safetensors", images, texts)
    with pytest.raises(UserError, match=r"no text d/new \(1 ids are missing\)"):
        given(path, images, texts | {"d/new": "nodule"})
    more = images | {"d/b.png": images["d/files/0.jpg"], "d/a.png": images["d/files/0.jpg"]}
    with pytest.raises(UserError, match=r"no image d/a.png \(2 ids are missing\)"):
        given(path, more, texts)
    with pytest.raises(UserError, match="data_fingerprint"):
        given(path, images, texts | {"d/s0": "changed"})
    with pytest.raises(UserError, match="data_fingerprint"):  # holds more than the data set
        given(path, dict(list(images.items())[:3]), texts)


def test_ids_that_are_not_there(images: Images, texts: Texts, tmp_path: Path) -> None:
    found = Embeddings.read(given_file(tmp_path / "mine.safetensors", images, texts))
    with pytest.raises(UserError, match="no image d/x"):
        found.image([next(iter(images)), "d/x"])
    with pytest.raises(UserError, match="no text d/files/0"):
        found.text(["d/files/0.jpg"])


@pytest.mark.parametrize(
    ("teacher", "source", "sentence"),
    [
        ("embeddings", "", "teacher_source FILE"),
        ("checkpoint", "", "teacher_source FILE"),
        ("checkpoint", "none.ckpt", "none.ckpt does not exist"),
        ("embeddings", "none.safetensors", "none.safetensors does not exist"),
        ("open_clip", "local-dir:/nowhere", "does not exist"),
    ],
)
def test_teachers_that_are_not_there(
    teacher: Any, source: str, sentence: str, images: Images, texts: Texts, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        teacher_embeddings(tmp_path, teacher, source, images, texts)


def test_nothing_to_read(tmp_path: Path, images: Images, texts: Texts) -> None:
    with pytest.raises(UserError, match="0 images and 6 texts"):
        make(tmp_path, "local-dir:x", {}, texts)
    images["d/gone.png"] = tmp_path / "gone.png"
    with pytest.raises(UserError, match=r"gone\.png does not exist"):
        make(tmp_path, "local-dir:x", images, texts)


# ---- fingerprint ------------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_its_description() -> None:
    found = fingerprint(["d/b", "d/ä"], [20, 10], {"d/2": "zwölf", "d/1": ""})
    lines = [
        ["image", "d/b", 20],
        ["image", "d/ä", 10],
        ["text", "d/1", hashlib.sha256(b"").hexdigest()],
        ["text", "d/2", hashlib.sha256("zwölf".encode()).hexdigest()],
    ]
    plain = "".join(json.dumps(line) + "\n" for line in lines)
    assert found == hashlib.sha256(plain.encode("ascii")).hexdigest()


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ({"a": 2, "b": 1}, {"x": "one", "y": "two"}),
        ({"a": 1, "c": 2}, {"x": "one", "y": "two"}),
        ({"a": 1}, {"x": "one", "y": "two"}),
        ({"a": 1, "b": 2}, {"x": "two", "y": "one"}),
        ({"a": 1, "b": 2}, {"x": "one"}),
        ({"a": 1}, {"b": "2", "x": "one", "y": "two"}),
    ],
)
def test_the_fingerprint_tells_data_apart(images: dict[str, int], texts: Texts) -> None:
    base = fingerprint(["a", "b"], [1, 2], {"x": "one", "y": "two"})
    assert fingerprint(["b", "a"], [2, 1], {"y": "two", "x": "one"}) == base
    assert fingerprint(list(images), list(images.values()), texts) != base
