"""The generated thorax phantoms as a data module: no download, right after cloning."""

from __future__ import annotations

from amif_lightning.arguments import check_minimum
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import Release
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack
from data_modules.phantom.generate import generate
from data_modules.phantom.read import read_phantom, read_studies


class Phantom(VQADataModule):
    """Radiographs of generated patients, with questions that the image decides.

    Args:
        root: Folder that the data set is generated into, or lies in already.
        phantom_seed: Seed of the patients, 0 or more; independent of the training seed.
        train_studies: Studies (two views each) of the training split, 1 or more.
        validation_studies: Studies of the validation split; with 0 validation is held out.
        test_studies: Studies of the test split.
        compositional: Whether to ask for composed answers as well, such as ``small left upper
            mass``, some of which are no answer of training.
        **kwargs: Arguments of :class:`VQADataModule`.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(
        self,
        root: str = "data/phantom",
        phantom_seed: int = 0,
        train_studies: int = 1200,
        validation_studies: int = 200,
        test_studies: int = 300,
        compositional: bool = False,
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_minimum(
            {
                "phantom_seed": (phantom_seed, 0),
                "train_studies": (train_studies, 1),
                "validation_studies": (validation_studies, 0),
                "test_studies": (test_studies, 0),
            }
        )
        self.phantom_seed = phantom_seed
        self.compositional = compositional
        self.studies = (train_studies, validation_studies, test_studies)

    def prepare_data(self) -> None:
        """Generate the data set unless it is there; needs no network."""
        train, validation, test = self.studies
        generate(
            self.root, self.phantom_seed, {"train": train, "validation": validation, "test": test}
        )

    def read_release(self) -> Release:
        """Read the generated questions.

        Raises:
            UserError: If there is no training question, as very few studies have none.
        """
        release = read_phantom(self.root, compositional=self.compositional)
        if not release.splits["train"]:
            raise UserError(
                f"The {self.studies[0]} training studies of the phantom under {self.root} are too "
                "few for a balanced question: give --data.init_args.train_studies 24 or more, and "
                "another root."
            )
        return release

    def training_texts(self) -> list[str]:
        """Reports, questions and answers, so that both stages of a run build the same table."""
        studies = [study for study in read_studies(self.root) if study.split == "train"]
        return super().training_texts() + [study.report for study in studies]
