"""What is true: how files come into raw/ and ledger/, and how it is known that they are what was written.

Owns the one way to write there (`append_files`), the manifest that has the SHA-256 of every file so written, each line chained to
the one before, and the scratch folders that commands write aside in. It does not know what the files mean.
"""
