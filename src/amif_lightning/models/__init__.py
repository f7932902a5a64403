"""Networks of the method: encoders, fusion, knowledge and answering, each in one short file."""

__all__ = [
    "decoder",
    "eval_mode",
    "fusion",
    "generation",
    "knowledge",
    "matching",
    "patch_grid",
    "ranking",
    "text",
    "vision",
    "words",
]
