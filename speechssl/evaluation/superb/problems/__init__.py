"""What each task of SUPERB learns, predicts and counts."""
