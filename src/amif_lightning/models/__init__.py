"""Networks of the method: encoders, fusion, knowledge and answering, each in one short file."""

__all__ = [
    "decoder",
    "eval_mode",
    "fusion",
    "knowledge",
    "ranking",
    "text",
    "vision",
    "words",
]
