"""Files that are converted before their rows are read."""

from __future__ import annotations

from pathlib import Path

from pipeline.landing.input_files import InputFile
from pipeline.landing.parquet_query import with_exact_types


def with_readable_rows(file: InputFile, folder: Path) -> InputFile:
    """The file; of Avro, and of Parquet with types that DuckDB does not read exactly, with a converted copy in `folder`.

    Raises InputFileError if the file cannot be read.
    """
    if file.format == "avro":
        from pipeline.landing.avro_rows import with_avro_rows  # its library is loaded for such files only

        return with_avro_rows(file, folder)
    return with_exact_types(file, folder)
