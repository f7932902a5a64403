"""`help` shows the arguments of the command line with the same defaults."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import pytest
from jsonargparse import ArgumentParser

import data_modules
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from amif_lightning.tasks.base import AMiFTask

CLASSES = [AMiFVQA, AMiFPretrain, *(getattr(data_modules, name) for name in data_modules.__all__)]


def parser_defaults(cls: type) -> dict[str, Any]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "it", fail_untyped=False)
    return {
        name.removeprefix("it."): value
        for name, value in vars(parser.get_defaults().it).items()
        if not name.startswith("__")
    }


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_signature_is_what_the_command_line_takes(cls: type) -> None:
    shown = inspect.signature(cls).parameters
    offered = parser_defaults(cls)
    assert set(shown) == set(offered)
    for name, parameter in shown.items():
        if parameter.default is inspect.Parameter.empty:
            continue
        default = parameter.default
        assert offered[name] == (list(default) if isinstance(default, tuple) else default) or (
            isinstance(default, tuple) and tuple(offered[name]) == default
        )
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_argument_is_documented_once(cls: type) -> None:
    text = inspect.getdoc(cls) or ""
    for name in inspect.signature(cls).parameters:
        assert text.count(f"\n    {name}: ") == 1, name
    assert "**kwargs" not in text


def test_help_shows_all_arguments_of_the_answering_task() -> None:
    text = pydoc.plain(pydoc.render_doc(AMiFVQA)).split("class AMiFVQA(")[1]
    shown = " ".join(text[: text.index("Answers questions")].replace("|", " ").split())
    signature = inspect.signature(AMiFVQA)
    assert len(signature.parameters) >= 34
    for name in ("vision", "lr", "min_lr", "transport", "decoder_layers"):
        assert f"{name}: " in shown, name


def test_a_class_of_a_user_keeps_its_own_signature() -> None:
    class Small(AMiFVQA):
        """Small.

        Args:
            width: Width.
            **kwargs: Arguments of :class:`AMiFVQA`.
        """

        def __init__(self, width: int = 8, **kwargs: Any) -> None:
            super().__init__(width=width, **kwargs)

    # Without a typed dictionary, the remaining arguments are unknown.
    assert list(inspect.signature(Small).parameters) == ["width", "kwargs"]


def test_bases_of_a_users_class_describe_it_too() -> None:
    class Own(AMiFVQA):
        """A task without arguments of its own."""

    assert inspect.signature(Own) == inspect.signature(AMiFVQA)
    assert issubclass(Own, AMiFTask)
    assert TextDataModule.__doc__ is not None
