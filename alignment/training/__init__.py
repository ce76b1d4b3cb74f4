"""Training: rows to batches, checks before step 0, the recipe, checkpoints, the adapter that is left."""
