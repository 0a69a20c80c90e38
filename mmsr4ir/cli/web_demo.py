"""Serve a page in the browser on which a model restores and recognises images."""

import argparse
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mmsr4ir.apis.side_by_side import SideBySide

from .command import command
from .inference_arguments import add_model_arguments, build_inferencer


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__ + " Needs the extra 'web': pip install 'mmsr4ir[web]'."
    )
    add_model_arguments(parser, max_pixels=16_000_000, max_task_pixels=16_000_000)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 lets other '
        'machines in, without a password (default: %(default)s)',
    )
    parser.add_argument(
        '--port', type=int, default=7860, help='to listen on (default: %(default)s)'
    )
    parser.add_argument(
        '--max-megabytes',
        type=float,
        default=20,
        metavar='N',
        help='refuse larger files (default: %(default)s)',
    )
    return parser.parse_args()


@command
def main() -> None:
    """Serve the page until the process is interrupted."""
    args = parse_args()
    inferencer = build_inferencer(args, show_progress=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # closes the server
    with TemporaryDirectory(prefix='mmsr4ir_web_') as folder:
        # Gradio keeps what it is given here, and reads this when it is imported.
        os.environ['GRADIO_TEMP_DIR'] = folder
        os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
        try:
            from .web_page import build_page, serve
        except ModuleNotFoundError as error:
            sys.exit(f"error: {error}: pip install 'mmsr4ir[web]'")
        page = build_page(
            SideBySide(inferencer, args.score_thr),
            Path(inferencer.cfg.filename).stem,
            args.max_pixels,
        )
        serve(page, args.host, args.port, int(args.max_megabytes * 10**6))
