"""Pixels and token ids: decoding, transforms, tokenizer, text normalization."""

__all__ = [
    "dicom",
    "image_files",
    "image_tensors",
    "images",
    "normalization",
    "tokenizer",
    "transforms",
]
