"""Studies: one job, what varies, and an answer. Many ordinary jobs become one table, one picture and one verdict.

`spec` reads what a user sends, `store` keeps studies and their trials, `advance` moves a study on (from any number of
worker processes at once), and every kind of study is one file in `kinds`.
"""
