"""Training on clips: pieces of one length, one vector each."""
