"""Every test, interval and distance of the platform; NumPy and SciPy only.

``auc`` (AUC and DeLong, of one model and of two), ``ranked`` (the bootstrap of everything that is read from a ranking),
``average_precision`` and ``ks`` (with their own errors), ``intervals`` (Wilson, bootstrap, quantiles), ``joint_counts``
(two models' decisions on the same rows), ``row_parts`` (each row's part in a metric), ``influence`` and ``differences``
(groups, and what lies between them), ``curve_bands``, ``binning`` and ``reliability`` (curves, bins, calibration),
``proportions`` (non-inferiority), ``sequential`` (tests that stay valid however often one looks), ``distances``
(population stability) and ``planning`` (how many rows or requests are needed). Does not belong here: thresholds,
verdicts, or rows of a table.
"""
