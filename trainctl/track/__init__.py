"""Trackers: what a run's files say, sent to TensorBoard, MLflow and Weights & Biases. One file about each."""
