"""Few-shot learning and its evaluation: episodes, strategies, training, runs."""
