"""Accept only files that were uploaded on a Gradio page.

Gradio 6 also accepts an address in the place of an uploaded file. It fetches the
address from this machine, without regard to any limit, and has no switch for that.
"""

from pathlib import Path

import gradio as gr


def is_address(text: str | Path | None) -> bool:
    """Return whether Gradio would take a text for an address in the web."""
    return str(text).startswith(('http://', 'https://'))


def uploads_only(file: gr.File) -> gr.File:
    """Keep Gradio from fetching an address that is given in the place of an upload.

    A subclass would do, but Gradio writes a ``.pyi`` file beside the code of each.
    """
    move = file.async_move_resource_to_block_cache

    async def take(path: str | Path | None) -> str | None:
        if is_address(path):
            raise ValueError(f'{path} is an address and was not uploaded')
        return await move(path)

    vars(file)['async_move_resource_to_block_cache'] = take
    return file
