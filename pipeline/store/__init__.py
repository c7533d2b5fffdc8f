"""The append-only Parquet collections under raw/ and ledger/: their schemas, their paths, how files are written and read.

Owns the one way to write there (`append_files`), the manifest with the SHA-256 of every file (each line chained to the one
before), and the scratch folders that commands write in. It does not decide what is written.
"""
