"""Tables, for a terminal and of Markdown."""

from collections.abc import Iterable, Sequence


def plain_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table, whatever the width of the terminal.

    Args:
        head: The names of the columns: the first holds text, the others numbers.
        rows: The cells of each row.
    """
    lines = [head, *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        '  '.join(
            [line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]
        ).rstrip()
        for line in lines
    ]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose first column is text and whose others are numbers.

    Args:
        head: The names of the columns.
        rows: The cells of each row.

    Returns:
        str: Lines without a line break at the end.
    """
    lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)
