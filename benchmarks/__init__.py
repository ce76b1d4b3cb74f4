"""Measurements. Each is run by hand and prints what it found beside the machine it found it on; no test asserts a time."""
