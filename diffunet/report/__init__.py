"""One self-contained HTML page about a dataset, a model or predictions.

`dataset_page`, `model_page` and `case_page` read a folder into plain facts; `html` writes them.

Of a dataset:     dataset_pictures plan_facts noise_chart
Of a model:       fold_facts (what a fold left), fold_verdicts (in words), training_charts
Of predictions:   case_inputs (images, references), case_facts (a row), case_pictures (who gets
                  pictures), case_arrays (what files hold, turned by orientation), case_views (the
                  pictures of a case)
Of scores:        evaluation (read), verdicts (in words), score_charts
Drawing:          charts (SVG), pictures (sheets of frames)
"""
