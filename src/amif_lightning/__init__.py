"""AMiF: medical visual question answering by unified alignment and knowledge fusion."""

__version__ = "0.1.0"
