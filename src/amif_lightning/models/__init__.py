"""Networks of the method: encoders, fusion, knowledge and answering."""

__all__ = ["decoder", "eval_mode", "fusion", "knowledge", "ranking", "text", "vision", "words"]
