"""Build a page that restores a dropped image and shows what the restoring is worth.

Only the bytes of an image and a choice among ours come from outside. Gradio limits the
size of an upload and cleans its name. This module reads the upload as bytes, and serves
the results under names of ours.
"""

import re
import uuid
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsr4ir.apis.side_by_side import Comparison, SideBySide, write_comparison
from mmsr4ir.compat.gradio_upload import is_address, uploads_only
from mmsr4ir.utils.images import ImageError, read_image

#: Largest file, in bytes, unless asked for.
MAX_BYTES = 20 * 10**6
#: Most pixels of an image that is given, and of one that is restored, unless asked for.
MAX_PIXELS = 16 * 10**6
AS_IT_IS = 'take it as it is'
_KEPT = 3600  # seconds that the files of a visit are kept
# Of Gradio's many addresses, those that the page asks for. Others run the function
# beside the queue, fetch from elsewhere, or convert videos.
_OPEN = re.compile(
    r'/(|config|theme\.css|favicon\.ico|manifest\.json|(static|assets|svelte)/.*|'
    r'gradio_api/(upload|upload_progress|queue/(join|data)|file=.*|heartbeat/\w+|cancel|reset|'
    r'startup-events|theme\.css))'
)
# The browser fetches nothing from elsewhere, although Gradio's page asks it to.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'self'"
)
_CSS = """
footer { display: none !important; }
.compare { position: relative; overflow: hidden; border-radius: 8px; line-height: 0; }
.compare img { width: 100%; display: block; }
.compare .over { position: absolute; inset: 0; height: 100%;
  clip-path: inset(0 0 0 var(--at)); }
.compare .line { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px;
  margin-left: -1px; background: white; box-shadow: 0 0 4px black;
  pointer-events: none; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0;
  opacity: 0; cursor: ew-resize; }
.compare:focus-within { outline: 2px solid var(--color-accent); }
.compare .tag { position: absolute; top: 8px; padding: 2px 8px; border-radius: 4px;
  background: rgb(0 0 0 / 60%); color: white; font-size: 13px; line-height: 1.4;
  pointer-events: none; }
.compare .tag.left { left: 8px; } .compare .tag.right { right: 8px; }
.scores { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
#scores :is(table, tr) { border: 0; }
#scores :is(th, td) { padding: 6px 12px; text-align: left; border: 0 solid;
  border-bottom: 1px solid var(--border-color-primary); }
#scores th { white-space: nowrap; }
#files .label-clear-button { display: none; }
.note { padding: 8px 12px; border-radius: 8px; border-left: 4px solid;
  background: var(--background-fill-secondary); border-color: var(--color-accent); }
.note.error { border-color: #dc2626; }
"""
_SLIDE = "this.parentNode.style.setProperty('--at', this.value + '%')"


def choices(scale: int) -> dict[str, int | None]:
    """Return the degradations of the page by their names; None takes it as it is."""
    return {degraded(factor): factor for factor in sorted({4, 8, scale})} | {
        AS_IT_IS: None
    }


def degraded(factor: int) -> str:
    """Return the name of a degradation on the page."""
    return f'degrade it x{factor}'


def build_page(
    compare: SideBySide, name: str, max_pixels: int = MAX_PIXELS
) -> gr.Blocks:
    """Build the page.

    Args:
        compare: Does the work.
        name: What the model is called on it.
        max_pixels: An image with more is refused.
    """
    scale = compare.scale
    offered = choices(scale) if compare.can_degrade else {AS_IT_IS: None}

    def run(content: bytes | None, choice: str) -> tuple:
        if content is None:
            return _refusal('Drop an image first.')
        try:
            comparison = compare(read_image(content, max_pixels), offered[choice])
        except ImageError as error:
            return _refusal(f'This image {error}.')
        # Nobody can guess where the files of another visit are.
        files = write_comparison(comparison, Path(page.GRADIO_CACHE) / uuid.uuid4().hex)
        return _answer(comparison, files, compare.scores(comparison), scale)

    with gr.Blocks(
        title=f'SR4IR: {name}', analytics_enabled=False, delete_cache=(_KEPT, _KEPT)
    ) as page:
        gr.HTML(
            f'<h1>Super-resolution for recognition</h1><p><b>{escape(name)}</b> '
            f'restores x{scale}. What its task network finds in the restored '
            'image is shown beside what it finds in the one that is only '
            'enlarged.</p>'
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                image = uploads_only(
                    gr.File(label='Image', type='binary', elem_id='image')
                )
                choice = gr.Radio(
                    list(offered),
                    value=degraded(scale) if compare.can_degrade else AS_IT_IS,
                    label='Before that',
                    elem_id='choice',
                    info='A good image is degraded to show what '
                    'restoring gives back; one that is small already is not.',
                )
                button = gr.Button('Run', variant='primary', elem_id='run')
                note = gr.HTML(elem_id='note')
                files = gr.File(
                    label='Download',
                    file_count='multiple',
                    visible=False,
                    interactive=False,
                    elem_id='files',
                )
            with gr.Column(scale=3, min_width=480):
                with gr.Row():
                    plain = gr.HTML(elem_id='plain', min_height=40)
                    drawn = gr.HTML(elem_id='drawn', min_height=40)
                table = gr.HTML(elem_id='scores')
        button.click(
            run,
            [image, choice],
            [note, plain, drawn, table, files],
            api_visibility='private',
        )
    return page


def serve(page: gr.Blocks, host: str, port: int, max_bytes: int = MAX_BYTES) -> None:
    """Serve a page until the process is interrupted.

    Args:
        page: See :func:`build_page`.
        host: Address to listen on.
        port: To listen on.
        max_bytes: Of a file; Gradio refuses a larger upload while it reads it.

    Raises:
        OSError: If the port is taken.
    """
    # Do not mount the page into our own app: Gradio then let a request name any file.
    page.queue(max_size=20, api_open=False).launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        theme=_theme(),
        css=_CSS,
        footer_links=[],
        max_file_size=max_bytes,
        app_kwargs=dict(
            middleware=[Middleware(Guard)],
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
        ),
    )


class Guard:
    """A middleware that refuses addresses that Gradio has no switch for.

    Gradio would answer an address in the place of a file by fetching it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request that is not for the page; pass all others to Gradio."""
        if scope['type'] != 'http':
            return await self.app(scope, receive, send)
        answer = self.app
        if not _OPEN.fullmatch(scope['path']):
            answer = PlainTextResponse('There is nothing here.', 404)
        elif is_address(scope['path'].partition('file=')[2]):
            answer = PlainTextResponse('An address is no file.', 403)

        async def send_with_policy(message: Message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [
                    *message['headers'],
                    (b'content-security-policy', _POLICY.encode()),
                ]
            await send(message)

        await answer(scope, receive, send_with_policy)


def _theme() -> gr.themes.Base:
    def fonts(*names: str) -> list[gr.themes.Font]:  # of the system; fetched nowhere
        return [gr.themes.Font(name) for name in names]

    return gr.themes.Soft(
        primary_hue='teal',
        neutral_hue='slate',
        font=fonts('system-ui', 'sans-serif'),
        font_mono=fonts('ui-monospace', 'monospace'),
    )


def _refusal(text: str) -> tuple:
    return (
        f'<p class="note error">{escape(text)}</p>',
        '',
        '',
        '',
        gr.File(value=None, visible=False),
    )


def _answer(
    comparison: Comparison,
    files: Sequence[Path],
    scores: Sequence[tuple[str, str, str]],
    scale: int,
) -> tuple:
    (height, width), (tall, wide) = (
        picture.shape[:2] for picture in (comparison.lr, comparison.restored.restored)
    )
    text = f'{width} x {height} pixels were restored to {wide} x {tall}.'
    if comparison.factor not in (None, scale):
        text += (
            f' The image was degraded x{comparison.factor} but is restored '
            f'x{scale}: the result has not its size, so there is no PSNR or SSIM.'
        )
    by_name = {path.name: path for path in files}
    return (
        f'<p class="note">{text}</p>',
        _slider('pictures', by_name['lr.png'], by_name['sr.png']),
        _slider('predictions', by_name['lr_drawn.png'], by_name['sr_drawn.png']),
        _table(scores),
        gr.File(value=list(map(str, files)), visible=True),
    )


def _slider(what: str, left: Path, right: Path) -> str:
    def image(path: Path, kind: str, alt: str) -> str:
        return f'<img class="{kind}" src="gradio_api/file={path}" alt="{what}, {alt}">'

    return (
        f'<p>{what.capitalize()}</p>'
        f'<div class="compare" style="--at: 50%">{image(left, "under", "LR")}'
        f'{image(right, "over", "SR")}<span class="line"></span>'
        '<span class="tag left">LR</span><span class="tag right">SR</span>'
        f'<input type="range" min="0" max="100" step="any" value="50" '
        f'aria-label="LR or SR, {what}" oninput="{_SLIDE}"></div>'
    )


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    if not rows:
        return '<p class="note">Nothing is found in either.</p>'
    body = ''.join(
        f'<tr>{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>'
        for row in rows
    )
    return (
        '<table class="scores"><thead><tr><th></th><th>LR, enlarged</th>'
        f'<th>SR, restored</th></tr></thead><tbody>{body}</tbody></table>'
    )
