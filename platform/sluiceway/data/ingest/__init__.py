"""Rows from files and frames into Delta tables: what a source is, how its rows are made to fit, how files are written.

Nothing here knows Ray: `data/ray_ingest.py` runs these functions in tasks, and `data/commit_files.py` commits what they
have written.
"""
