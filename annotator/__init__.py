"""A page in the browser on which masks are made, propagated and corrected: python -m annotator."""
