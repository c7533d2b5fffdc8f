"""The append-only Parquet collections in raw/ and ledger/: schemas, paths, reading and writing.

Owns the only function that writes rows there (`append_files`), the manifest with the SHA-256 of every such file, and the scratch
folders of commands. Zero-row `_schema` files, and the journal of a running publication, are not in the manifest. It does not
decide what is written.
"""
