"""Videos with masks, as evaluation reads them."""
