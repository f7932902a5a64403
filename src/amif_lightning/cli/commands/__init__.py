"""The commands besides those of the Trainer, one file each."""
