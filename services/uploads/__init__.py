"""Data sets that users bring: taken in as a stream, looked at by a limited child process, kept by content.

Nothing that a user sent is ever parsed in the process that answers HTTP.
"""
