"""Image towers: shapes, order and place of tokens, and errors that name the option to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional

from amif_lightning.batch import CLIP_MEAN, CLIP_STD
from amif_lightning.errors import UserError
from amif_lightning.models.vision import ConvTower, build_vision

CHANNELS = (8, 8, 16, 24)  # of the convolutional net
WIDTH, PATCH, SIDE = 48, 8, 32
TEXT = {"context_length": 8, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1}
VIT: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": SIDE,
        "layers": 2,
        "width": WIDTH,
        "head_width": 16,
        "patch_size": PATCH,
    },
    "text_cfg": TEXT,
}


def inputs(count: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def write_folder(folder: Path, config: dict[str, Any], **factory: Any) -> open_clip.CLIP:
    """Writes an open_clip ``local-dir:`` with random weights and returns the whole model."""
    open_clip.add_model_config(_named(folder.parent / "configs", folder.name, config))
    torch.manual_seed(3)
    model = open_clip.create_model(folder.name, **factory)
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return model


def _named(folder: Path, name: str, config: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    return path


def timm_config(name: str) -> dict[str, Any]:
    """The layout of BiomedCLIP's configuration: a timm tower with a linear projection."""
    vision = {
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    }
    return {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}


def assert_batch_independent(tower: nn.Module, images: Tensor) -> None:
    together = tower(images)
    alone = torch.cat([tower(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-2  # it does depend on the image


def assert_every_parameter_is_trained(tower: nn.Module, images: Tensor) -> None:
    """DDP stops at a parameter without gradient."""
    tokens = tower(images)
    (
        tokens * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(1))
    ).sum().backward()
    idle = [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


# ---- the convolutional net -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "grid"), [(112, 4), (128, 4), (160, 5), (33, 2), (97, 4), (127, 4), (129, 5), (31, 1)]
)
def test_conv_tower_gives_one_token_more_than_its_grid(side: int, grid: int) -> None:
    tower = ConvTower(side, CHANNELS)
    assert len(tower.patch_centres) == grid
    assert tower.position.shape == (1, grid * grid, 24)
    assert tower(inputs(2, side)).shape == (2, 1 + grid * grid, 24)
    assert tower.width == 24


@pytest.mark.parametrize("branch", [[], [24]])
def test_patches_without_positions_are_those_of_a_tower_that_has_none(branch: list[int]) -> None:
    tower, images = ConvTower(64, [8, 16], branch).eval(), inputs(2, 64)
    tokens = tower(images)
    patches = tower.patches(tokens)
    # Without a branch, the summary is the mean of these patches.
    assert torch.allclose(tokens[:, 0], patches.mean(1), atol=1e-6) == (not branch)
    assert (tokens[:, 0] - tokens[:, 1:].mean(1)).abs().max() > 1e-2
    with torch.no_grad():
        tower.position.zero_()
    torch.testing.assert_close(patches, tower(images)[:, 1:], atol=1e-5, rtol=0)


def test_a_branch_for_the_summary_leaves_patches_a_narrow_field() -> None:
    """A patch sees 49 pixels; the summary sees the whole image."""
    tower = ConvTower(112, [8, 16, 32], [24, 40]).eval()
    assert tower.width == 32
    image = torch.rand(1, 3, 112, 112).requires_grad_()
    tokens = tower(image)
    assert tokens.shape == (1, 50, 32)
    middle = 1 + 3 * 7 + 3  # row 3, column 3: centred on pixel 48
    for token, sees in ((middle, False), (0, True)):
        (slope,) = torch.autograd.grad(tokens[0, token].sum(), image, retain_graph=True)
        seen = slope[0].abs().sum(0) > 0
        assert bool(seen[48, 48])
        assert bool(seen[:20].any() and seen[80:].any()) == sees
    whole = ConvTower(112, [8, 16, 32]).eval()
    (slope,) = torch.autograd.grad(whole(image)[0, middle].sum(), image)
    assert bool((slope[0].abs().sum(0) > 0)[:20].any())


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"channels": []}, "vision_channels"),
        ({"channels": [8, 0]}, "vision_channels"),
        ({"summary_channels": [-1]}, "vision_summary_channels"),
    ],
)
def test_channels_are_positive(given: dict[str, list[int]], named: str) -> None:
    with pytest.raises(UserError, match=named):
        build_vision("conv", None, 64, **given)  # type: ignore[arg-type]  # lists by name


def test_conv_patches_are_row_by_row_and_centred_on_multiples_of_32() -> None:
    torch.manual_seed(0)
    tower, images = ConvTower(128, (16, 16, 32, 32)).eval(), 0.1 * inputs(1, 128)
    before = tower(images)[0, 1:]
    most_changed = []
    for row in range(4):
        for column in range(4):
            changed = images.clone()
            top, left = max(32 * row - 4, 0), max(32 * column - 4, 0)
            changed[..., top : 32 * row + 5, left : 32 * column + 5] += 3.0
            most_changed.append(int((tower(changed)[0, 1:] - before).norm(dim=1).argmax()))
    assert most_changed == list(range(16))


@pytest.mark.parametrize("branch", [[], [24, 40]])
def test_conv_trains_every_parameter(branch: list[int]) -> None:
    assert_every_parameter_is_trained(ConvTower(64, CHANNELS, branch), inputs(2, 64))


# ---- vision transformers of open_clip --------------------------------------------------------


def reference_tokens(visual: Any, images: Tensor) -> Tensor:
    """CLS and patches of a CLIP ViT, written from its published definition."""
    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    cls = visual.class_embedding.expand(len(images), 1, -1)
    states = visual.ln_pre(torch.cat([cls, patches], 1) + visual.positional_embedding)
    for block in visual.transformer.resblocks:
        normed = block.ln_1(states)
        states = states + block.attn(normed, normed, normed, need_weights=False)[0]
        states = states + block.mlp(block.ln_2(states))
    normed_states: Tensor = visual.ln_post(states)
    return normed_states


def test_clip_folder_gives_cls_then_patches_at_the_width_before_projection(tmp_path: Path) -> None:
    visual = write_folder(tmp_path / "tiny-vit-a", VIT).visual
    tower: Any = build_vision(f"local-dir:{tmp_path / 'tiny-vit-a'}", None, SIDE)
    images = inputs(2, SIDE)
    tokens = tower(images)
    assert tower.patch_centres.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert tokens.shape == (2, 1 + 16, WIDTH)
    assert tower.width == WIDTH
    torch.testing.assert_close(tokens, reference_tokens(visual, images), atol=1e-5, rtol=1e-5)
    # The projection of the CLS token is what the unchanged model gives for the image.
    torch.testing.assert_close(tokens[:, 0] @ visual.proj, visual(images), atol=1e-5, rtol=1e-5)
    assert_batch_independent(tower, images)
    assert_every_parameter_is_trained(tower, images)


def test_position_embeddings_are_interpolated_to_the_image_size(tmp_path: Path) -> None:
    visual = write_folder(tmp_path / "tiny-vit-b", VIT).visual
    tower: Any = build_vision(f"local-dir:{tmp_path / 'tiny-vit-b'}", None, 48)
    assert len(tower.patch_centres) == 6
    assert tower(inputs(1, 48)).shape == (1, 37, WIDTH)
    old, new = visual.positional_embedding, tower.visual.positional_embedding
    torch.testing.assert_close(new[0], old[0])
    wide = functional.interpolate(
        old[1:].T.reshape(1, WIDTH, 4, 4), (6, 6), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(new[1:], wide.flatten(2)[0].T)
    torch.testing.assert_close(tower.visual.conv1.weight, visual.conv1.weight)


def test_a_built_in_name_takes_a_weights_file_or_random_weights(tmp_path: Path) -> None:
    model = write_folder(tmp_path / "tiny-vit-c", VIT)
    file = tmp_path / "tiny-vit-c" / "open_clip_pytorch_model.bin"
    loaded: Any = build_vision("tiny-vit-c", str(file), SIDE)
    torch.testing.assert_close(loaded.visual.conv1.weight, model.visual.conv1.weight)
    torch.manual_seed(8)
    random: Any = build_vision("tiny-vit-c", None, SIDE)
    assert (random.visual.conv1.weight - model.visual.conv1.weight).abs().max() > 1e-2


def test_weights_trained_with_quick_gelu_run_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `ViT-B-16` with OpenAI's weights: the configuration has GELU, the tag QuickGELU.
    write_folder(tmp_path / "tiny-vit-d", VIT)
    file = tmp_path / "tiny-vit-d" / "open_clip_pytorch_model.bin"
    tag = dict(open_clip.get_pretrained_cfg("ViT-B-16", "openai"))
    assert tag["quick_gelu"] is True
    for module in (open_clip, open_clip.factory):
        monkeypatch.setattr(module, "get_pretrained_cfg", lambda name, tag_name: tag)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *a, **k: str(file))
    with_tag, without = (build_vision("tiny-vit-d", tag, SIDE) for tag in ("openai", None))
    for tower, expected in ((with_tag, QuickGELU), (without, nn.GELU)):
        found = {type(m) for m in tower.modules() if isinstance(m, QuickGELU | nn.GELU)}
        assert found == {expected}


@pytest.mark.parametrize("given", [True, False])
def test_the_activation_can_be_given_without_weights(tmp_path: Path, given: bool) -> None:
    """A tower restored from a checkpoint has no weights tag that implies it."""
    folder = tmp_path / f"vit-activation-{given}"
    write_folder(folder, VIT | {"quick_gelu": not given})
    name = f"local-dir:{folder}"
    assert build_vision(name, None, SIDE).quick_gelu is not given
    tower: Any = build_vision(name, None, SIDE, quick_gelu=given)
    assert tower.quick_gelu is given
    found = {type(m) for m in tower.modules() if isinstance(m, QuickGELU | nn.GELU)}
    assert found == {QuickGELU if given else nn.GELU}


def test_a_tower_without_the_activation_does_not_take_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "timm-gelu", timm_config("vit_tiny_patch16_224"))
    with pytest.raises(UserError, match=r"leave out --model\.init_args\.vision_quick_gelu"):
        build_vision(f"local-dir:{tmp_path / 'timm-gelu'}", None, SIDE, quick_gelu=True)
    with pytest.raises(UserError, match=r"leave out --model\.init_args\.vision_quick_gelu"):
        build_vision("conv", None, SIDE, quick_gelu=False)


def test_patch_dropout_of_a_configuration_is_left_out(tmp_path: Path) -> None:
    config = VIT | {"vision_cfg": VIT["vision_cfg"] | {"patch_dropout": 0.5}}
    open_clip.add_model_config(_named(tmp_path, "tiny-vit-dropping", config))
    tower: Any = build_vision("tiny-vit-dropping", None, SIDE).train()
    assert tower(inputs(1, SIDE)).shape[1] == 17


# ---- timm towers -----------------------------------------------------------------------------


# Pooling by CLS, by a mean with its own norm, and by attention.
@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3"])
def test_timm_towers_of_all_poolings(tmp_path: Path, name: str) -> None:
    open_clip.add_model_config(_named(tmp_path, f"timm-{name}", timm_config(name)))
    tower, images = build_vision(f"timm-{name}", None, 160), inputs(2, 160)
    assert len(tower.patch_centres) == 10
    assert tower(images).shape == (2, 101, tower.width)
    assert_batch_independent(tower.eval(), images)
    assert_every_parameter_is_trained(tower, images)


def test_a_convolutional_tower_of_open_clip_gives_its_grid(tmp_path: Path) -> None:
    open_clip.add_model_config(_named(tmp_path, "timm-cnn", timm_config("test_convnext")))
    tower: Any = build_vision("timm-cnn", None, 160)
    assert tower(inputs(2, 160)).shape == (2, 26, 64)
    assert tower.quick_gelu is False


def test_statistics_follow_the_model_of_open_clip(tmp_path: Path) -> None:
    """SigLIP's weights, for example, expect a mean of 0.5."""
    folder = tmp_path / "tiny-vit-half"
    write_folder(folder, VIT)
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    content = {"model_cfg": VIT, "preprocess_cfg": half}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    tower: Any = build_vision(f"local-dir:{folder}", None, SIDE).eval()
    assert {"pixels.scale", "pixels.shift"} <= tower.state_dict().keys()
    clip = torch.tensor([CLIP_MEAN, CLIP_STD]).view(2, 1, 3, 1, 1)
    images = inputs(1, SIDE)
    expected = tower.visual((images * clip[1] + clip[0] - 0.5) / 0.5)[1]
    torch.testing.assert_close(tower(images)[:, 1:], expected)


def test_a_timm_folder_loads_and_is_resized(tmp_path: Path) -> None:
    trunk = write_folder(tmp_path / "timm-folder", timm_config("test_vit")).visual.trunk
    name = f"local-dir:{tmp_path / 'timm-folder'}"
    images = inputs(2, 160)
    expected = trunk.eval().forward_features(images)
    torch.testing.assert_close(build_vision(name, None, 160).eval()(images), expected)
    assert build_vision(name, None, 192)(inputs(1, 192)).shape == (1, 1 + 144, 64)


def test_towers_without_cls_or_with_registers(tmp_path: Path) -> None:
    open_clip.add_model_config(_named(tmp_path, "timm-plain", timm_config("test_vit")))
    tower, images = build_vision("timm-plain", None, 160).eval(), inputs(1, 160)
    plain = tower(images)
    tower.prefix = 0  # as if the first token were a patch: summary = mean of all
    torch.testing.assert_close(tower(images)[:, 0], plain.mean(1))
    torch.testing.assert_close(tower(images)[:, 1:], plain)
    tower.prefix = 3  # CLS and two registers
    torch.testing.assert_close(tower(images), plain[:, [0, *range(3, 101)]])


# ---- errors ----------------------------------------------------------------------------------


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


RESNET = VIT | {
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
}
COCA_POOLING = VIT | {
    "vision_cfg": VIT["vision_cfg"]
    | {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2}
}


@pytest.mark.parametrize(
    ("name", "config", "side"),
    [
        ("tiny-resnet", RESNET, 64),
        ("tiny-coca", COCA_POOLING, SIDE),
    ],
)
def test_no_grid_of_patch_tokens(
    tmp_path: Path, name: str, config: dict[str, Any], side: int
) -> None:
    open_clip.add_model_config(_named(tmp_path, name, config))
    with pytest.raises(UserError, match="not a vision transformer with a grid") as error:
        build_vision(name, None, side)
    assert "--model.init_args.vision ViT-B-16" in one_sentence(error)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("hf-hub:microsoft/BiomedCLIP-of-nobody", "openai", "local-dir:FOLDER"),
        ("ViT-B-16", "openai", "local-dir:FOLDER"),
        ("ViT-B-16-typo", None, "not found in built-ins"),
        ("ViT-B-16", "opneai", "not a known tag or valid file path"),
    ],
)
def test_weights_that_cannot_be_reached(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_vision(name, weights, SIDE)
    assert name in one_sentence(error)


def test_folders_that_are_missing_empty_or_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere' .* could not be loaded") as error:
        build_vision(f"local-dir:{tmp_path / 'nowhere'}", None, SIDE)
    assert "--model.init_args.vision local-dir:FOLDER" in one_sentence(error)
    name = f"local-dir:{tmp_path / 'half'}"
    (tmp_path / "half").mkdir()
    with pytest.raises(UserError, match=r"open_clip_config\.json"):
        build_vision(name, None, SIDE)
    (tmp_path / "half" / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT}))
    # Random weights here would be a silent fallback.
    with pytest.raises(UserError, match="could not be loaded") as error:
        build_vision(name, None, SIDE)
    assert "its weights" in one_sentence(error)
    (tmp_path / "half" / "open_clip_pytorch_model.bin").write_bytes(b"damaged")
    with pytest.raises(UserError, match="could not be loaded") as error:
        build_vision(name, None, SIDE)
    one_sentence(error)


def test_patches_of_the_small_net_lie_where_it_looks() -> None:
    size = 480  # larger than what one patch sees
    tower = ConvTower(size).eval()
    centres = tower.patch_centres
    images = torch.rand(1, 3, size, size).requires_grad_()
    middle = len(centres) // 2
    tower(images)[0, 1 + middle * len(centres) + middle].sum().backward()
    assert images.grad is not None
    seen = images.grad.abs().sum((0, 1)) > 0
    for axis in (0, 1):
        places = seen.any(axis).nonzero()[:, 0].double()
        reach = (places.min() + places.max() + 1) / 2 / size  # the middle of what it sees
        assert abs(float(reach) - centres[middle]) < 8 / size
        assert abs(float(reach) - (middle + 0.5) / len(centres)) > 8 / size


@pytest.mark.parametrize(("narrowest", "expected"), [(4, False), (8, True)])
def test_narrow_convolutions_are_not_channels_last(narrowest: int, expected: bool) -> None:
    """In that format their backward pass corrupts the heap on CPUs without AVX-512."""
    tower = ConvTower(SIDE, (narrowest, 8))
    formats: list[bool] = []

    def watch(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        formats.append(given[0].is_contiguous(memory_format=torch.channels_last))

    for module in tower.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.register_forward_pre_hook(watch)
    tower(inputs(2, SIDE)).sum().backward()
    assert formats == [expected]
