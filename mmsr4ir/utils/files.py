"""Files that are whole or not there."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch.utils.data import Dataset


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
            content.encode() if isinstance(content, str) else content
        )


def load_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: If the file is no JSON, or one that no program writes: nested beyond
            measure, or with numbers of thousands of digits. The message names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error})') from error


def image_path(dataset: Dataset, index: int) -> Path:
    """Return the file of an image, or its index if it comes from no file of its own."""
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
    return Path(info.get('img_path') or f'{index:06d}')


def unique_names(paths: dict[int, Path]) -> dict[int, str]:
    """Name images by their files, with as many folders as make them different.

    Those that differ only in their suffix get it into their names, and only if that is
    not enough each gets its number.
    """
    parts = {i: path.with_suffix('').parts for i, path in paths.items()}
    for depth in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {i: '_'.join(part[-depth:]) for i, part in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    stems = {i: part[-1] for i, part in parts.items()}
    counts = Counter(stems.values())
    names = {
        i: stem if counts[stem] == 1 else f'{stem}_{paths[i].suffix[1:]}'
        for i, stem in stems.items()
    }
    if len(set(names.values())) == len(names):
        return names
    return {i: f'{stem}_{i}' for i, stem in stems.items()}


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1))
