"""The method: checkpoints, engines, prompts, critics, pairs, scorers, statistics, provenance. Knows neither the daemon nor the handlers."""
