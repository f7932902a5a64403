"""One LightningDataModule per data set over one base."""

from data_modules.phantom.module import Phantom, PhantomStudies
from data_modules.pretrain.captions_from_qa import CaptionsFromQA
from data_modules.pretrain.chexpert_5x200 import CheXpert5x200, MIMIC5x200
from data_modules.pretrain.image_text import ImageText
from data_modules.pretrain.iu_xray import IUXray
from data_modules.pretrain.medicat import MedICaT
from data_modules.pretrain.mimic_cxr import MIMICCXR
from data_modules.pretrain.mixture import Mixture
from data_modules.pretrain.roco import ROCO
from data_modules.vqa.mixture import QuestionMixture
from data_modules.vqa.path_vqa import PathVQA
from data_modules.vqa.question_table import QuestionTable
from data_modules.vqa.slake import SLAKE
from data_modules.vqa.vqa_med_2019 import VQAMed2019
from data_modules.vqa.vqa_rad import VQARAD

__all__ = [
    "MIMICCXR",
    "ROCO",
    "SLAKE",
    "VQARAD",
    "CaptionsFromQA",
    "CheXpert5x200",
    "IUXray",
    "ImageText",
    "MIMIC5x200",
    "MedICaT",
    "Mixture",
    "PathVQA",
    "Phantom",
    "PhantomStudies",
    "QuestionMixture",
    "QuestionTable",
    "VQAMed2019",
]
