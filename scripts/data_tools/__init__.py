"""What the data scripts are made of."""
