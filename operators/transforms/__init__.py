"""Transforms: texts to texts, same rows. They drop no row and look at no other document."""
