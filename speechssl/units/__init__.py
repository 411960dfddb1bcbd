"""Frame labels by k-means."""
