"""Find images that occur in several splits or data sets: hashes, comparison, hold-outs."""

__all__ = ["cross_dataset", "dataset_images", "hash_cache", "held_out", "image_hash"]
