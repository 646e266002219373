"""Probes of layers: each kind of layer as a module, and its functional forms.

In: nothing. Out: a table `PROBES` in each module.
"""
