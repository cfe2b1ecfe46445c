"""The seam to Hydra: scanned by every Hydra start, so nothing heavy is imported and nothing is decided here."""
