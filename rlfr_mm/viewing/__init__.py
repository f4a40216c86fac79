"""What a run keeps of its rollouts, the statistics of their tokens, and the run as one HTML page."""
