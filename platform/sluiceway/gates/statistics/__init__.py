"""Every test, interval and distance of the platform; NumPy and SciPy only.

``auc`` (AUC and DeLong), ``intervals`` (Wilson, bootstrap, quantiles), ``proportions`` (non-inferiority),
``sequential`` (tests that stay valid however often one looks), ``distances`` (population stability) and
``planning`` (how many rows or requests are needed). Does not belong here: thresholds, verdicts, or rows of a table.
"""
