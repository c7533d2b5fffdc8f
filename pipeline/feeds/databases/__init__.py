"""Rows of a database: those after a cursor, or the changes of a replication slot, are written to the inbox, each at least once.

Owns the queries, the conversion of rows to lines of JSON with exact numbers, and the cursors. Client libraries are optional and
imported when a command connects. docs/operate/databases.md.
"""
