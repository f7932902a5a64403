"""Decoding, transforms, tokenizer and text normalization."""
