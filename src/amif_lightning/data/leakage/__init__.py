"""Find images that occur in more than one split or data set: hashes, comparison, hold-outs."""

__all__ = ["cross_dataset", "dataset_images", "hash_cache", "held_out", "image_hash"]
