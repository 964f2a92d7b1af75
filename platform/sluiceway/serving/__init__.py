"""The Serve applications: the endpoint, its challengers, and how traffic moves between them.

Belongs here: everything that runs inside a Serve replica, and the driver's side of deploying it. ``scorer`` and
``in_place`` alone speak xgboost; every module may speak ``ray.serve``. Does not belong here: deciding about traffic
(``rollout``), writing the registry (a replica reads bundles, plain folders), and how rows are stored (``catalog``).
"""
