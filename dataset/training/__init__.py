"""Samples, as training reads them."""
