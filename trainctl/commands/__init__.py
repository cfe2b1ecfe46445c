"""Command pipelines: a Hydra app whose task is a sequence of shell commands, for code that is not a Hydra app."""
