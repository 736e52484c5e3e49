"""Raw datasets: their files, `dataset.json`, tables, splits, and whether all of it is sound."""
