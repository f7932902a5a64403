from amif_lightning.cli.config_files import nearest, suggestion


def test_nearest_ignores_case() -> None:
    assert nearest("vqarad", ["Phantom", "VQARAD"]) == "VQARAD"


def test_nothing_alike_gives_none() -> None:
    assert nearest("zzz", ["Phantom", "VQARAD"]) is None


def test_suggestion_lists_few_names_and_leaves_out_many() -> None:
    assert suggestion("zzz", ["b", "a", "a"]) == "; use one of a, b"
    assert suggestion("zzz", [f"n{i}" for i in range(20)]) == ""
    assert suggestion("fti", ["fit", "test"]) == "; did you mean `fit`?"
