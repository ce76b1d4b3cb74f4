"""The four kinds of work: baseline, generate, train, evaluate. Knows nothing of the daemon."""
