"""The YAML configuration as frozen pydantic sections.

``load.py`` alone reads files and the environment; everything else takes its own section as an argument. The
constants and defaults live in the sections, each with unit and reason.
"""
