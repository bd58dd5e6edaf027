"""fastText classifiers: reading their files and scoring texts with them. No training, no measure."""
