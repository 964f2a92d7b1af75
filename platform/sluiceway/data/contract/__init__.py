"""The data contract of a table: what its columns and rows have to be, as a YAML file beside it.

The file is the part of the Open Data Contract Standard that applies to one table (docs/data/contract.md). Everything
here is pure: Arrow batches in, counts that merge and verdicts out. The tasks are in ``sluiceway.data.ray_contract``.
"""
