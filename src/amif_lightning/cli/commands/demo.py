"""``demo``: a page on this machine that asks a checkpoint about images."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from amif_lightning.cli.commands.answer import NOTICE, read_questions
from amif_lightning.cli.commands.model_source import add_source, load_source, named_source
from amif_lightning.cli.commands.plain_parser import PlainParser
from amif_lightning.errors import UserError

LOOPBACK = "127.0.0.1"


def demo_parser() -> PlainParser:
    """Build the parser of ``demo``."""
    parser = PlainParser(
        "demo",
        "Show a page on this machine: drop an image, ask, and see ranked answers, warnings and "
        "maps. " + NOTICE,
    )
    add_source(parser)
    add = parser.add_argument
    add(
        "--questions",
        type=Path,
        metavar="FILE.jsonl",
        help="examples on the page: lines as for `answer --questions`",
    )
    add("--port", type=int, default=7860, help="port of the page (default: 7860; 0: a free one)")
    add(
        "--host",
        default=LOOPBACK,
        help="address to listen on (default: 127.0.0.1, this machine only; 0.0.0.0: whoever can "
        "reach this machine, without a password)",
    )
    add("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda:1 ...")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command with the options after ``demo`` until Ctrl-C; returns 0.

    Raises:
        UserError: If an option is wrong, a package is missing or the checkpoint is unusable.
    """
    options = demo_parser().parse_args(argv)
    named = named_source(options)
    asked = [] if options.questions is None else read_questions(options.questions)
    try:
        import uvicorn
    except ImportError as error:
        raise UserError(
            "The page needs the extra `demo`: run `pip install 'amif-lightning[demo]'`."
        ) from error
    with _listening(options.host, options.port) as listening:
        from amif_lightning.inference.demo.app import Demo, application
        from amif_lightning.inference.model_card import results_of
        from amif_lightning.reports.render.verdicts import verdict
        from amif_lightning.tasks.answering.single_question import Asked

        task = load_source(options)
        examples = [Asked(one.image, one.question, one.frame) for one in asked]
        # The doubts repeat a bad verdict.
        groups = [] if options.model or task.doubts else results_of(Path(named))
        local = options.host == LOOPBACK
        demo = Demo(task, named, examples, [verdict(group) for group in groups], local)
        hosts = [LOOPBACK, "localhost"] if local else ["*"]
        port = listening.getsockname()[1]
        print(f"http://{options.host}:{port}/   (Ctrl-C ends it). {NOTICE}", flush=True)
        config = uvicorn.Config(application(demo, hosts), log_level="warning")
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has ended
            uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listening(host: str, port: int) -> socket.socket:
    """Open the page's socket before the slow imports; a UserError if that fails."""
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"The page cannot listen on {host}:{port} ({error}): give another --port, or 0 for a "
            "free one."
        ) from error
