"""The queue: event log, lifecycle, folders, watcher, workers, CLI. Knows nothing of machine learning."""
