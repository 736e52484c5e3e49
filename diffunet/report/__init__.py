"""One self-contained HTML page about a dataset, a model or predictions.

`dataset_page`, `model_page` and `case_page` read a folder into plain facts; `html` writes them.
"""
