"""PyTorch, Lightning, Transformers: what `live.bind` and the callbacks know about each; nothing is imported here."""
