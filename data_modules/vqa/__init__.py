"""Question sets, one file each."""

__all__ = ["mixture", "path_vqa", "slake", "vqa_med_2019", "vqa_rad"]
