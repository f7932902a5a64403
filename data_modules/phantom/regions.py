"""Where the findings of a phantom lie on an image, and the words that name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amif_lightning.evaluation import Region
from data_modules.phantom.read import DATASET, Footprints, read_studies

#: Words that name each kind in the generated reports, and no other kind of the same study.
NAMES: Mapping[str, frozenset[str]] = {
    "nodule": frozenset({"nodule", "nodules", "opacity"}),
    "mass": frozenset({"mass"}),
    "effusion": frozenset({"effusion", "effusions", "fluid"}),
    "consolidation": frozenset({"consolidation", "opacity"}),
    "pneumothorax": frozenset({"pneumothorax"}),
    "cardiomegaly": frozenset({"cardiomegaly", "heart", "cardiac", "silhouette"}),
}


class Regions:
    """The findings that each image of a generated data set shows.

    Args:
        root: Folder of a finished data set.

    Raises:
        UserError: The folder holds no finished data set.
    """

    def __init__(self, root: Path) -> None:
        self._footprints = Footprints(root)
        self._studies = {f"{DATASET}/{study.study_id}": study for study in read_studies(root)}

    def of(self, study_id: str, image_id: str) -> Sequence[Region]:
        """Regions of the findings that can be seen on an image.

        Args:
            study_id: ``Phantom/<study>``.
            image_id: ``Phantom/<path>``, one of its images.
        """
        study = self._studies[study_id]
        view = next(image.view for image in study.images if f"{DATASET}/{image.path}" == image_id)
        return [
            Region(found.kind, found.mask)
            for found in self._footprints.of(study.study_id, view)
            if view in study.shown_on[found.finding]
        ]
