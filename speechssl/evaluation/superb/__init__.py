"""SUPERB: a frozen encoder, the weighted sum of its hidden states, and one small head for each task.

Heads, losses and metrics are s3prl's. Ours are the cache of hidden states, the training loop and the choice of the
learning rate.
"""
