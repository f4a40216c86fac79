"""What a run keeps of its rollouts, statistics of their tokens, and the run as one HTML page."""
