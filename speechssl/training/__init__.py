"""Training with fairseq2."""
