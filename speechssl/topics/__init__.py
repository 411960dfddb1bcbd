"""Topic labels of utterances."""
