"""Delta tables: commit, read, name, digest and profile their versions; membership of rows; the demo's two sources.

Belongs here: everything that touches a Delta log or decides from a row alone which part it belongs to. `deltalake` is
spoken only in this package, Ray only in the modules ``ray_*``. Does not belong here: features for a model
(:mod:`sluiceway.features`), judging (:mod:`sluiceway.gates`), names of versions (:mod:`sluiceway.catalog.tags`).
"""
