"""Corpora of images and reports, one file each."""

__all__ = [
    "captions_from_qa",
    "chexpert_5x200",
    "image_text",
    "medicat",
    "mimic_cxr",
    "mimic_sections",
    "mimic_tables",
    "mixture",
    "roco",
]
