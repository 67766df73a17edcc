"""Training: from a recipe to a finished run, over any number of processes."""
