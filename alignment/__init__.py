"""The method: checkpoints, engines, prompts, critics, pairs, scorers, statistics. Knows neither daemon nor handlers."""
