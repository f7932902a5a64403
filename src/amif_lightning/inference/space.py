"""The files beside a shared model that make it a Docker Space of the Hugging Face hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from amif_lightning.errors import UserError

MODEL, PORT = "model", 7860

# torch for CPUs: the index's usual one brings 3 GB for GPUs. Spaces run as user 1000.
_DOCKERFILE = """\
FROM python:3.11-slim
RUN useradd --create-home --uid 1000 user
WORKDIR /app
COPY {wheel} .
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu \\
 && pip install --no-cache-dir "./{wheel}[demo,dicom,weights]"
COPY --chown=user {model} {model}
USER user
EXPOSE {port}
CMD ["python", "-m", "amif_lightning", "demo", "--model", "{model}", "--host", "0.0.0.0", \
"--port", "{port}", "--device", "cpu"]
"""
_README = """\
---
title: {name}
sdk: docker
app_port: {port}
---
Ask {name} about an image. Research software: not for clinical use. Whoever opens this page sends
images to the machine that runs it, so give it no images of patients. The model's accuracy is in
[{model}/README.md]({model}/README.md).
"""


def write_space(folder: Path, wheel: Path, name: str) -> None:
    """Write Dockerfile, README and the wheel beside ``folder / MODEL``.

    Raises:
        UserError: If the wheel is not one of this package.
    """
    if not (
        wheel.is_file() and wheel.name.startswith("amif_lightning-") and wheel.suffix == ".whl"
    ):
        raise UserError(
            f"{wheel} is no wheel of this package: build one with `python -m pip wheel --no-deps "
            ".` in its source folder and give it as --wheel."
        )
    shutil.copy(wheel, folder / wheel.name)
    values = {"name": name, "model": MODEL, "port": PORT, "wheel": wheel.name}
    (folder / "Dockerfile").write_text(_DOCKERFILE.format(**values), encoding="utf-8")
    (folder / "README.md").write_text(_README.format(**values), encoding="utf-8")
