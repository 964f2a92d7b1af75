"""The way of a model to its users: a measured share of the requests at a time, and back when something is wrong.

Belongs here: the plan, the evidence, the decision (all pure), the journal, the controller, and the replay of rows as
requests. Does not belong here: how replicas draw an arm (serving), how a number is tested (gates.statistics), or what
a promotion means outside of the traffic, such as aliases in the registry (handed in by wiring as effects).
"""
