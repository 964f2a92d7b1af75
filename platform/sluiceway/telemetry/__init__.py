"""Every metric of the platform, declared once, and the small server that shows them to Prometheus.

Belongs here: names, types, labels, buckets, and writing them. Does not belong here: reading metrics back, and deciding
anything by them: what a rollout judges comes from the catalog.
"""
