"""Public datasets, in the layout in which they are downloaded, written as raw datasets."""
