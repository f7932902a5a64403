"""The web application of ``demo``: one page, answers as JSON, maps and images as PNG."""

from __future__ import annotations

import base64
import io
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from amif_lightning.data.preprocessing.image_files import read_image
from amif_lightning.data.preprocessing.transforms import to_square
from amif_lightning.errors import UserError, printable
from amif_lightning.inference.explain import explain
from amif_lightning.tasks.answering.single_question import Asked, answers_known, ask

if TYPE_CHECKING:
    from amif_lightning.tasks.vqa import AMiFVQA

LARGEST = 200 * 2**20  # bytes of an upload
ANSWERS = 5
PREVIEW = 512  # pixels of a side


class Demo:
    """Answers the page's requests, one at a time.

    Args:
        task: In evaluation mode.
        name: Name of the checkpoint, shown on the page.
        examples: Shown on the page to be asked with one click.
        verdicts: Sentences of its own tests, shown at the top with the task's doubts.
        local: Whether only this machine can open the page.
    """

    def __init__(
        self,
        task: AMiFVQA,
        name: str,
        examples: Sequence[Asked] = (),
        verdicts: Sequence[str] = (),
        local: bool = True,
    ) -> None:
        self.task, self.name, self.examples = task, name, list(examples)
        self.local = local
        self.banner = [printable(text) for text in (*task.doubts, *verdicts)]
        self._busy = Lock()  # evaluation mode is a state of the task

    def page(self) -> str:
        """Return the page."""
        environment = Environment(
            loader=PackageLoader(__package__ or "", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
        )
        space = answers_known(self.task)
        return environment.get_template("page.html.jinja").render(
            name=self.name,
            banner=self.banner,
            local=self.local,
            candidates=len(space.candidates),
            examples=[(place, one.question) for place, one in enumerate(self.examples)],
        )

    def answers(self, asked: Asked) -> dict[str, Any]:
        """Return ranked answers, warnings about them and the image as a square."""
        (answered,) = ask(self.task, [asked], ANSWERS)
        notes = []
        if answered.cut:
            notes.append(f"The last {answered.cut} tokens of the question were not read.")
        if answered.unknown:
            notes.append(f"{answered.unknown} words of the question are unknown.")
        return {
            "answers": [[printable(text), value] for text, value in answered.answers],
            # The page shows the others at its top.
            "warnings": [
                printable(text) for text in answered.warnings if text not in self.task.doubts
            ],
            "notes": notes,
            "image": base64.b64encode(_preview(asked)).decode(),
        }

    def maps(self, asked: Asked) -> bytes:
        """Return the figure of ``answer --explain`` as PNG."""
        (answered,) = ask(self.task, [asked], ANSWERS)
        stream = io.BytesIO()
        explain(self.task, asked, answered).savefig(stream, format="png")
        return stream.getvalue()

    def example(self, place: int) -> bytes:
        """Return the image of an example as PNG; an IndexError if there is none."""
        return _preview(self.examples[place])

    def ask(self, form: FormData, work: Callable[[Asked], Any]) -> Any:
        """Do some work on the question of a form: its upload, or an example by number.

        Raises:
            UserError: If the form is incomplete, or the work fails so.
        """
        question = str(form.get("question", ""))
        frame = str(form.get("frame", "")).strip()
        if frame and not frame.isdecimal():
            raise UserError("The frame is not a whole number: count from 0, or leave it out.")
        number = int(frame) if frame else None
        upload, chosen = form.get("image"), str(form.get("example", ""))
        if isinstance(upload, UploadFile) and upload.filename:
            with tempfile.TemporaryDirectory() as folder:
                name = re.sub(r"[^\w.-]+", "_", PurePosixPath(upload.filename).name)[-100:]
                path = Path(folder) / (name.strip(".") or "image")
                path.write_bytes(upload.file.read())
                try:
                    with self._busy:
                        return work(Asked(path, question, number))
                except UserError as error:
                    raise UserError(str(error).replace(f"{folder}/", "")) from error
        if not (chosen.isdecimal() and int(chosen) < len(self.examples)):
            raise UserError("There is no image: choose a file or an example.")
        with self._busy:
            return work(replace(self.examples[int(chosen)], question=question))


def application(demo: Demo, hosts: Sequence[str] = ("127.0.0.1", "localhost")) -> Starlette:
    """Build the application; it refuses requests to other host names than ``hosts``."""

    async def page(request: Request) -> Response:
        return HTMLResponse(await run_in_threadpool(demo.page))

    async def example(request: Request) -> Response:
        try:
            place = int(request.path_params["place"])
            return Response(await run_in_threadpool(demo.example, place), media_type="image/png")
        except (IndexError, UserError) as error:
            return JSONResponse({"error": printable(str(error))}, 404)

    async def answer(request: Request) -> Response:
        return await _outcome(request, demo.answers)

    async def maps(request: Request) -> Response:
        return await _outcome(request, demo.maps)

    async def _outcome(request: Request, work: Callable[[Asked], Any]) -> Response:
        size = request.headers.get("content-length", "")
        if not size.isdecimal() or int(size) > LARGEST:
            limit = f"The upload is larger than {LARGEST // 2**20} MiB: give a smaller file."
            return JSONResponse({"error": limit}, 413)
        try:
            async with request.form(max_files=1, max_fields=4) as form:
                made = await run_in_threadpool(demo.ask, form, work)
        except UserError as error:
            return JSONResponse({"error": printable(str(error))}, 400)
        if isinstance(made, bytes):
            return Response(made, media_type="image/png")
        return JSONResponse(made)

    routes = [
        Route("/", page),
        Route("/example/{place:int}", example),
        Route("/answer", answer, methods=["POST"]),
        Route("/maps", maps, methods=["POST"]),
    ]
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return Starlette(routes=routes, middleware=[guard])


def _preview(asked: Asked) -> bytes:
    """Return an image as PNG, made square as for the network."""
    pixels = to_square(read_image(asked.image, PREVIEW, asked.frame), PREVIEW)
    stream = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(stream, format="PNG")
    return stream.getvalue()
