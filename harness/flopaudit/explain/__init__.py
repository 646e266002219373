"""Explanations: why a tool's number differs from the reference, cause by cause.

In: a measurement, the reference, the trace and the tool's profile. Out: findings and settlements,
whose amounts add up to the difference exactly.
"""
