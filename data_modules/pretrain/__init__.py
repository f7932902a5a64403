"""Corpora of images and reports, one file each."""
