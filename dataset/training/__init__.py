"""Training samples: where they come from, how they are drawn, and how they are loaded."""
