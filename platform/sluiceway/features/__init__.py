"""One definition of the features, for training and for serving.

Belongs here: what a feature is (:mod:`~sluiceway.features.schema`) and how rows become the matrix that a model sees
(:mod:`~sluiceway.features.encode`). Pure numpy and pyarrow. Does not belong here: reading tables, any engine.
"""
