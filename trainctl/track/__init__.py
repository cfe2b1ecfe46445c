"""Trackers: the data of a run's files, sent to TensorBoard, MLflow and Weights & Biases; one module for each."""
