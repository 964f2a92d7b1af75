"""What became of the predictions: accuracy from outcomes, and the archive of records in Delta.

Belongs here: joining predictions with outcomes and judging them over time. Does not belong here: counting requests
while they are served (serving), or deciding a rollout (rollout).
"""
