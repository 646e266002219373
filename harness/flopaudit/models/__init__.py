"""Sources of models: torchvision, timm, transformers, the user's own, and how each is built.

In: a model spec. Out: its inputs, then a model in eval mode with random weights and its tensors.
"""
