"""From labelled rows to a model: folds, matrices, the boosting loop, cross-validation.

Belongs here: translating parameters, the loop that every engine runs (:mod:`~sluiceway.training.loop`), and the two
engines that run it, one Ray task or one Ray Train worker group. Ray is spoken in ``ray_task``, ``ray_group`` and
``trainer``, XGBoost in ``loop`` and ``params``. Does not belong here: reading tables, judging or registering a model.
"""
