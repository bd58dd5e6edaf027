"""A linear student of labels: features of texts, the model, its calibration."""
