"""The page. The only importer of panel, and it talks to runs through their files only."""
