"""The counters that are audited: which there are, and in which installed or kept versions.

In: names such as `ptflops:aten==0.7.5`. Out: tool variants. Imports neither a tool nor torch.
"""
