"""Decoding, transforms, tokenizer and text normalization."""

__all__ = [
    "dicom",
    "image_files",
    "image_tensors",
    "images",
    "normalization",
    "tokenizer",
    "transforms",
]
