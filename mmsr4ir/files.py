"""Files that are whole or not there."""
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a name to write to, which is renamed to ``path`` when the block ends well.

    So ``path`` is never half a file, and an earlier one stays whole when writing fails
    (a full disk). The name has the suffix of ``path``, for functions that look at that;
    the folder is made. Several processes, on several machines, may write the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{uuid4().hex}{path.suffix}')
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a text, as UTF-8, or bytes through :func:`whole_file`."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(
            content.encode() if isinstance(content, str) else content)


def load_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: It is none, or one that no program writes: nested beyond measure, or
            with numbers of thousands of digits. The message names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error})') from error
