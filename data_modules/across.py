"""Pictures that train here and are scored in another data set: the audit across data sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from data_modules.across_report import Across, Extent, HeldOutAcross, SharedPicture, SplitAcross
from data_modules.alike import Look, Looks, content_pairs, look, name_pairs, unit
from data_modules.base import VQADataModule
from data_modules.options import check_choice
from data_modules.rows import QARow, SplitName
from data_modules.scored_pictures import Compare
from data_modules.studies import StudyDataModule

Module = VQADataModule | StudyDataModule


@dataclass(frozen=True)
class Pictures:
    """The pictures of a set of questions or studies.

    Attributes:
        files: Where each lies, by ``<data set>/<path relative to its root>``.
        rows: Ids of the questions or studies that show it, by the same name.
    """

    files: Mapping[str, Path]
    rows: Mapping[str, frozenset[str]]


def across(
    module: Module,
    held_out: Sequence[Module],
    compare: Compare = "content",
    looks: Look = look,
) -> Across:
    """Finds pictures that would train and that other data sets hold.

    Within one data set pictures are the same if their paths are; between two, if their file names
    are, whatever the folder and the ending, or if they look the same.

    Args:
        module: What would train.
        held_out: Data sets that the weights will be scored on.
        compare: ``content``: by name, and by what pictures look like, which reads every picture
            once; ``name``: by name only.
        looks: Tells what pictures look like, such as ``HashStore(...).look``.

    Returns:
        The findings, with train splits of ``held_out`` apart.

    Raises:
        UserError: If ``compare`` is unknown or a release cannot be read.
    """
    check_choice("compare", compare, Compare)
    trained = trained_pictures(module)
    seen = looks(trained.files) if compare == "content" else None
    found = []
    for other in held_out:
        splits = {name: pictures_of(other, name) for name in get_args(SplitName)}
        files = {name: file for one in splits.values() for name, file in one.files.items()}
        theirs = looks(files) if compare == "content" else None
        found.append(
            HeldOutAcross(
                dataset=other.dataset,
                kind="questions" if isinstance(other, VQADataModule) else "studies",
                splits={
                    name: shared(trained, one, seen, theirs)
                    for name, one in splits.items()
                    if one.files
                },
                unread=len(theirs.damaged) if theirs else 0,
                absent={
                    what: sentence
                    for what, sentence in other.release.absent.items()
                    if what in ("validation", "test") and not splits[what].files
                },
            )
        )
    return Across(
        dataset=module.dataset,
        protocol=module.partition.label if isinstance(module, VQADataModule) else "clean",
        trained=len(trained.files),
        unread=len(seen.damaged) if seen else 0,
        compare=compare,
        held_out=tuple(found),
    )


def trained_pictures(module: Module) -> Pictures:
    """The pictures that weights would see."""
    if isinstance(module, StudyDataModule):
        return pictures_of(module, "train")
    return _of_questions(module, module.partition.train)


def pictures_of(module: Module, split: SplitName) -> Pictures:
    """The pictures of one split in the role that it has for scoring.

    Args:
        module: The data set.
        split: ``validation``: what checkpoints are chosen on; ``test``: what is scored, and the
            released test set also where another set takes its role; ``train``: the released
            training rows that do not validate (of studies: that train).
    """
    if isinstance(module, StudyDataModule):
        rows = module.rows(split)
        showing: dict[str, set[str]] = defaultdict(set)
        files = {}
        for row in rows:
            for picture in row.images:
                files[picture.image_id] = picture.file
                showing[picture.image_id].add(row.study_id)
        return Pictures(files, {name: frozenset(ids) for name, ids in showing.items()})
    parts = module.partition
    if split == "validation":
        return _of_questions(module, parts.validation)
    if split == "test":
        return _of_questions(module, (*parts.test, *module.release.splits.get("test", ())))
    carved = {row.question_id for row in parts.validation}
    return _of_questions(module, [r for r in parts.released_train if r.question_id not in carved])


def _of_questions(module: VQADataModule, rows: Iterable[QARow]) -> Pictures:
    files: dict[str, Path] = {}
    showing: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        # Pictures of a mixture are named after their data set already.
        name = row.image if row.source else f"{module.dataset}/{row.image}"
        files[name] = module.file_of(row)
        showing[name].add(row.question_id)
    return Pictures(files, {name: frozenset(ids) for name, ids in showing.items()})


def shared(
    trained: Pictures,
    held_out: Pictures,
    seen: Looks | None = None,
    theirs: Looks | None = None,
) -> SplitAcross:
    """Compare two sets of pictures.

    Args:
        trained: What trains.
        held_out: A split of another data set.
        seen: What the pictures that train look like; None compares by name only.
        theirs: What those of the other data set look like, further splits included.

    Returns:
        The pairs and what they concern.
    """
    named = _named(trained.files, held_out.files)
    alike = {}
    if seen is not None and theirs is not None:
        inside = _only(theirs, held_out.files)
        alike = {(p.first, p.second): p for p in content_pairs(seen, inside)}
    apart = _apart(named - alike.keys(), seen, theirs)
    pairs = []
    for key in sorted(named | alike.keys()):
        pair = alike.get(key)
        bits, correlation = (pair.bits, pair.correlation) if pair else apart.get(key, (None, None))
        pairs.append(SharedPicture(*key, key in named, pair is not None, bits, correlation))

    def extent(some: Iterable[SharedPicture]) -> Extent:
        some = list(some)
        images = {pair.held_out for pair in some}
        rows = {row for image in images for row in held_out.rows[image]}
        return Extent(len({pair.trained for pair in some}), len(images), len(rows))

    return SplitAcross(
        images=len(held_out.files),
        rows=len({row for rows in held_out.rows.values() for row in rows}),
        by_name=extent(pair for pair in pairs if pair.by_name),
        by_content=extent(pair for pair in pairs if pair.by_content),
        either=extent(pairs),
        pairs=tuple(pairs),
    )


def _named(trained: Iterable[str], held_out: Iterable[str]) -> set[tuple[str, str]]:
    """Pairs of names that mean the same picture, each data set with each."""
    pairs = set()
    for one, paths in _by_dataset(trained).items():
        for other, others in _by_dataset(held_out).items():
            # Names count anew in each split of one data set, so there the whole path decides.
            same = (
                [(path, path) for path in set(paths) & set(others)]
                if one == other
                else name_pairs(paths, [others])
            )
            pairs |= {(f"{one}/{a}", f"{other}/{b}") for a, b in same}
    return pairs


def _by_dataset(names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        dataset, _, path = name.partition("/")
        groups[dataset].append(path)
    return groups


def _only(looks: Looks, names: Mapping[str, Path]) -> Looks:
    places = [place for place, name in enumerate(looks.names) if name in names]
    return Looks(
        tuple(looks.names[place] for place in places),
        looks.hashes[places],
        looks.pixels[places],
        {},
    )


def _apart(
    pairs: Iterable[tuple[str, str]], seen: Looks | None, theirs: Looks | None
) -> dict[tuple[str, str], tuple[int, float]]:
    """Bits and correlation of pairs of equal name that do not look the same."""
    if seen is None or theirs is None:
        return {}
    first = {name: place for place, name in enumerate(seen.names)}
    second = {name: place for place, name in enumerate(theirs.names)}
    found = {}
    for one, other in pairs:
        if one in first and other in second:
            a, b = first[one], second[other]
            correlation = float(unit(seen.pixels[a]) @ unit(theirs.pixels[b]))
            found[one, other] = (int((seen.hashes[a] ^ theirs.hashes[b]).sum()), correlation)
    return found
