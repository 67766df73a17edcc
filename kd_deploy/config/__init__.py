"""Recipes: what one may say (schema), how it is read (source, load) and the packaged ones (catalog)."""
