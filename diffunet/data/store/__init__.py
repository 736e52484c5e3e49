"""Preprocessed cases on disk: compressed arrays in shards, read and written."""
