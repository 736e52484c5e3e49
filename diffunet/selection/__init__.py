"""What the validations of all folds say: one model's cross-validation, and the best of several."""
