"""Texts that repeat row after row, held once: a table of a million rows has eighteen such columns.

Such a column stays an array of strings of its length, and its readers see no difference; but it is
made of chunks, and those of equal texts share one block of memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1024
"""Most rows of a chunk."""
WORTH = 64
"""Rows that a chunk must hold on average: more and smaller ones cost time and save little."""


def shared(table: pa.Table) -> pa.Table:
    """Return a table whose columns of coded texts, as parquet is read, are strings.

    Where texts repeat row after row, equal ones share memory. Other columns stay as they are.
    """
    import pyarrow as pa

    for position, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        coded = pa.types.is_dictionary(column.type) and not column.null_count
        if coded and pa.types.is_string(column.type.value_type):
            table = table.set_column(position, name, _shared(column))
    return table


def _shared(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    whole = column.unify_dictionaries().combine_chunks()
    codes = whole.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(starts, append=len(codes))
    if (-(-lengths // BLOCK)).sum() * WORTH > len(codes):
        return column.cast(pa.large_string())
    longest = np.zeros(len(whole.dictionary), np.int64)
    np.maximum.at(longest, codes[starts], lengths)
    texts = whole.dictionary.cast(pa.large_string())
    blocks = [pa.repeat(text, min(BLOCK, most)) for text, most in zip(texts, longest, strict=True)]
    chunks = [
        blocks[code].slice(0, min(BLOCK, length - at))
        for code, length in zip(codes[starts], lengths, strict=True)
        for at in range(0, length, BLOCK)
    ]
    return pa.chunked_array(chunks, pa.large_string())
