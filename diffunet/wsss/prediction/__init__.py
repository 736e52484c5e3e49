"""Prediction with models that were trained from image-level labels."""
