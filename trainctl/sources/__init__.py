"""Configs from earlier runs and files of other formats: `+from=KIND/PLACE` in any Hydra app, and `trainctl pull`."""
