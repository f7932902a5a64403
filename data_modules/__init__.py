"""One LightningDataModule per data set over one base."""

from data_modules.captions import CaptionsFromQA
from data_modules.mixture import Mixture
from data_modules.phantom.module import Phantom
from data_modules.phantom.studies import PhantomStudies
from data_modules.question_mixture import QuestionMixture
from data_modules.slake import SLAKE
from data_modules.vqa_med_2019 import VQAMed2019
from data_modules.vqa_rad import VQARAD

__all__ = [
    "SLAKE",
    "VQARAD",
    "CaptionsFromQA",
    "Mixture",
    "Phantom",
    "PhantomStudies",
    "QuestionMixture",
    "VQAMed2019",
]
