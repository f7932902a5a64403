"""Generated thorax phantoms as a data set of questions, without a download."""

from __future__ import annotations

from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import Release
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack
from data_modules.phantom.generate import checked_sizes, generate
from data_modules.phantom.read import read_phantom, read_studies


class Phantom(VQADataModule):
    """Radiographs of generated patients, with questions that the image alone answers.

    Args:
        root: Folder of the data set; generated if missing or empty.
        phantom_seed: Seed of the patients, 0 or more; independent of the training seed.
        train_studies: Studies (two views each) of the training split, 1 or more.
        validation_studies: Studies of the validation split; 0: hold out from training.
        test_studies: Studies of the test split.
        compositional: Add questions with composed answers, such as ``small left upper mass``;
            some of these answers do not occur in training.
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
        self.studies = checked_sizes(phantom_seed, train_studies, validation_studies, test_studies)
        self.phantom_seed, self.compositional = phantom_seed, compositional

    def prepare_data(self) -> None:
        """Generate the data set unless it exists."""
        generate(self.root, self.phantom_seed, self.studies)

    def read_release(self) -> Release:
        """Read the generated questions.

        Raises:
            UserError: If there are too few studies for a training question.
        """
        release = read_phantom(self.root, compositional=self.compositional)
        if not release.splits["train"]:
            raise UserError(
                f"The {self.studies['train']} training studies of the phantom in {self.root} are "
                "too few for a balanced question: give --data.init_args.train_studies 24 or more, "
                "and another root."
            )
        return release

    def training_texts(self) -> list[str]:
        """Return questions, answers and reports, so that both stages build the same token table."""
        studies = [study for study in read_studies(self.root) if study.split == "train"]
        return super().training_texts() + [study.report for study in studies]
