"""What the three computers agree on: the nouns on disk that stimgen, experiment and analysis exchange."""
