"""The commands beside those of the Trainer, one file each."""
