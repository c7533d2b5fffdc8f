"""The append-only Parquet collections in raw/ and ledger/: schemas, paths, reading and writing.

Owns the only function that writes there (`append_files`), the manifest with the SHA-256 of every file, and the scratch folders of
commands. It does not decide what is written.
"""
